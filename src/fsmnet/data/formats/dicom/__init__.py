"""DICOM series in and out: list a study, read one series with its place in space, write a derived one beside it.

Axes. A DICOM image has ``Rows`` and ``Columns``; NIfTI writers (ITK, dcm2niix) let the file's first index run along a
row, that is over the columns, and the second over the rows. A :class:`~fsmnet.data.volume.Volume` read here has the
axes that nibabel would give for such a file: ``data[k, i, j]`` is slice k, column i, row j of the DICOM image, so

    H = Columns, along the first three numbers of ImageOrientationPatient, spacing PixelSpacing[1];
    W = Rows,    along the last three, spacing PixelSpacing[0]: the phase-encode axis where
                 InPlanePhaseEncodingDirection is COL (along a column). Where it is ROW, H is the phase-encode axis;
    S = slices, ascending along the cross product of the two.

The order of rows is DICOM's, as ITK keeps it (dcm2niix turns it round and says so in its affine). DICOM's coordinates
are LPS+ millimetres; the affine's are RAS+: the first two rows change sign (PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1).

Needs pydicom (headers, writing) and SimpleITK (pixels): ``pip install 'fsmnet[dicom]'``.
"""

from __future__ import annotations

from fsmnet.data.formats.dicom.pixels import read_series
from fsmnet.data.formats.dicom.series import NOT_CLINICAL, Series, choose_series, is_ours, list_series
from fsmnet.data.formats.dicom.write import write_series

__all__ = ["NOT_CLINICAL", "Series", "choose_series", "is_ours", "list_series", "read_series", "write_series"]
