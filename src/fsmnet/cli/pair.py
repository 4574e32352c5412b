"""``fsmnet pair``: the pairs of a folder as a table, and what a person should look at."""

from __future__ import annotations

from fsmnet.cli.terminal import say
from fsmnet.data.options import PairConfig
from fsmnet.files import keep_edited


def command(config: PairConfig) -> int:
    """``fsmnet pair``; exit code 3 if no pair can be used."""
    return _by_content(config) if config.layout == "fastmri" else _by_names(config)


def _by_names(config: PairConfig) -> int:
    from fsmnet.data.pairing.propose import propose_pairs
    from fsmnet.data.pairing.tables import ACCEPTED, REJECTED, table_text, write_table

    rows = propose_pairs(config.data, config.target, config.auxiliary, same_grid=not config.resample)
    if not config.overwrite:
        keep_edited(config.out, table_text(rows, config.out.parent))
    write_table(rows, config.out)
    for row in rows:
        say(f"{ACCEPTED if row.accepted else REJECTED}  {row.case}" + (f": {row.reason}" if row.reason else ""))
    n_accepted = sum(row.accepted for row in rows)
    say(f"{config.out}: {n_accepted} of {len(rows)} pairs can be used")
    return 0 if n_accepted else 3


def _by_content(config: PairConfig) -> int:
    from fsmnet.data.pairing.content import LOW_MARGIN, match_tree, pairs_text, write_pairs

    index = config.index or config.out.parent / "fastmri_index.json"
    matches, left = match_tree(config.data, config.target, config.auxiliary, config.coils == "multi", index)
    if not config.overwrite:
        keep_edited(config.out, pairs_text(matches))
    write_pairs(matches, config.out)
    for match in matches:
        if note := match.note():
            say(f"{match.auxiliary.path.stem}, {match.target.path.stem}: {note}, score {match.score:.2f}")
    doubtful = sum(match.doubtful for match in matches)
    say(
        f"{config.out}: {len(matches)} pairs, {doubtful} of them to be looked at (margin below {LOW_MARGIN:g}); "
        f"{left} volumes without a partner"
    )
    return 0
