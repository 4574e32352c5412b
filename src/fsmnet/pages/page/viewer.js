"use strict";
// The viewer of a reconstruction: two images of NiiVue, one over the other, with a wipe between them.
// Everything it shows stands in the page; without WebGL the still pictures below remain.
(() => {
  const HOT = "hot";

  function bytes(text) {
    return Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  }

  function hasWebGL() {
    try {
      return Boolean(document.createElement("canvas").getContext("webgl2"));
    } catch {
      return false;
    }
  }

  class Viewer {
    constructor(place) {
      this.place = place;
      this.scan = JSON.parse(place.querySelector(".scan").textContent);
      this.axis = this.scan.axis;
      this.stage = place.querySelector(".stage");
      this.controls = Object.fromEntries(
        [...place.querySelectorAll("[data-is]")].map((control) => [control.dataset.is, control]),
      );
    }

    // Left lies above and is cut at the wipe; right lies below it.
    async start() {
      const { Niivue, NVImage } = niivue;
      // The views first: they tell NiiVue to keep what is no error for itself.
      this.views = {};
      for (const side of ["right", "left"]) {
        const view = new Niivue({
          backColor: [0, 0, 0, 1],
          crosshairColor: [0.2, 0.75, 1, 0.7],
          crosshairWidth: 0.3,
          crosshairGap: 6,
          fontColor: [1, 1, 1, 1],
          fontMinPx: 16,
          showAllOrientationMarkers: true,
          isRadiologicalConvention: true,
          isOrientationTextVisible: this.scan.placed,
          isRuler: false,
          show3Dcrosshair: false,
          dragAndDropEnabled: false,
          dragMode: 0,
          loadingText: "",
          multiplanarShowRender: 0,
          logLevel: "error",
        });
        view.opts.isColorbar = false;
        await view.attachToCanvas(this.stage.querySelector(`.${side}`));
        view.onLocationChange = (where) => this.moved(side, where);
        this.views[side] = view;
      }
      this.images = {};
      for (const layer of this.scan.layers) {
        const data = bytes(this.place.querySelector(`[data-volume="${layer.key}"]`).textContent);
        this.images[layer.key] = await NVImage.loadFromFile({
          file: new File([data], `${layer.key}.nii.gz`),
          name: `${layer.key}.nii.gz`,
          colormap: layer.coloured ? HOT : "gray",
          cal_min: 0,
          cal_max: layer.top,
          trustCalMinMax: false,
        });
      }
      this.fill();
      this.listen();
      this.show();
      this.slice(Math.floor(this.scan.slices / 2));
      this.wipe();
      this.place.dataset.ready = "true";
    }

    fill() {
      const plain = this.scan.layers.filter((layer) => !layer.coloured);
      const option = (select, layer) => select.add(new Option(layer.title, layer.key));
      for (const side of ["left", "right"]) plain.forEach((layer) => option(this.controls[side], layer));
      this.scan.layers.filter((layer) => layer.coloured).forEach((layer) => option(this.controls.map, layer));
      this.controls.left.value = plain[0].key;
      this.controls.right.value = (plain.find((layer) => layer.key === "zero_filled") ?? plain.at(-1)).key;
      this.controls.slice.max = this.scan.slices - 1;
      for (const name of ["map", "strength"]) {
        this.controls[name].closest("label").hidden = this.controls.map.length < 2;
      }
    }

    listen() {
      const on = (names, act) => names.forEach((name) => this.controls[name].addEventListener("input", act));
      on(["left", "right", "map", "strength", "black", "white", "planes"], () => this.show());
      on(["slice"], () => this.slice(Number(this.controls.slice.value)));
      on(["wipe"], () => this.wipe());
      this.stage.addEventListener("keydown", (event) => this.key(event));
    }

    layer(key) {
      return this.scan.layers.find((layer) => layer.key === key);
    }

    show() {
      const [black, white] = ["black", "white"].map((name) => Number(this.controls[name].value) / 100);
      const map = this.layer(this.controls.map.value);
      for (const side of ["right", "left"]) {
        const view = this.views[side], layer = this.layer(this.controls[side].value);
        const image = this.images[layer.key];
        image.cal_min = black * layer.top;
        image.cal_max = Math.max(white, black + 0.01) * layer.top;
        image.opacity = 1;
        view.volumes = [image];
        if (map) {
          const over = this.images[map.key];
          over.cal_min = 0.02 * map.top;
          over.cal_max = map.top;
          over.opacity = Number(this.controls.strength.value) / 100;
          view.volumes.push(over);
        }
        view.back = image;
        view.overlays = view.volumes.slice(1);
        view.updateGLVolume();
        view.setSliceType(
          this.controls.planes.value === "three" ? view.sliceTypeMultiplanar : this.planes(view)[this.axis],
        );
      }
      this.place.querySelector(".says").textContent = map ? `${map.title}: ${map.says}` : "";
      if (this.place.dataset.ready) this.views.left.createOnLocationChange();
    }

    planes(view) {
      return [view.sliceTypeSagittal, view.sliceTypeCoronal, view.sliceTypeAxial];
    }

    // The n-th slice of the file's own order, the first with content being 0.
    slice(number) {
      const count = this.scan.slices;
      const wanted = Math.min(count - 1, Math.max(0, number));
      const place = (wanted + 0.5) / count;
      for (const view of Object.values(this.views)) {
        view.scene.crosshairPos[this.axis] = this.scan.backwards ? 1 - place : place;
        view.drawScene();
      }
      this.views.left.createOnLocationChange();
    }

    moved(side, where) {
      const from = this.views[side], other = this.views[side === "left" ? "right" : "left"];
      if ([0, 1, 2].some((axis) => other.scene.crosshairPos[axis] !== from.scene.crosshairPos[axis])) {
        other.scene.crosshairPos = [...from.scene.crosshairPos];
        other.drawScene();
      }
      const place = from.scene.crosshairPos[this.axis];
      const along = this.scan.backwards ? 1 - place : place;
      const number = Math.min(this.scan.slices - 1, Math.floor(along * this.scan.slices));
      this.controls.slice.value = number;
      const position = this.scan.placed ? `, ${[...where.mm].slice(0, 3).map((x) => x.toFixed(0)).join(", ")} mm` : "";
      const shown = ["left", "right", "map"].filter((name) => this.controls[name].value);
      const values = shown.map((name) => {
        const key = this.controls[name].value, vox = this.images[key].mm2vox(where.mm.slice(0, 3));
        return `${this.layer(key).title} ${this.images[key].getValue(...vox).toPrecision(4)}`;
      });
      this.place.querySelector(".where").textContent =
        `slice ${number + this.scan.first}${position}: ${[...new Set(values)].join(", ")}`;
    }

    wipe() {
      const share = Number(this.controls.wipe.value);
      this.stage.querySelector(".over").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
      const line = this.stage.querySelector(".divider");
      line.style.left = `${share}%`;
      line.hidden = share <= 0 || share >= 100;
    }

    key(event) {
      const steps = {
        ArrowUp: ["slice", 1], ArrowDown: ["slice", -1], PageUp: ["slice", 10], PageDown: ["slice", -10],
        ArrowRight: ["wipe", 5], ArrowLeft: ["wipe", -5], "+": ["white", -5], "-": ["white", 5],
      };
      const plain = this.scan.layers.filter((layer) => !layer.coloured);
      if (event.key in steps) {
        const [name, step] = steps[event.key], control = this.controls[name];
        control.value = Number(control.value) + step;
        control.dispatchEvent(new Event("input"));
      } else if (plain[Number(event.key) - 1]) {
        this.controls.left.value = plain[Number(event.key) - 1].key;
        this.show();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    }
  }

  for (const place of document.querySelectorAll(".viewer")) {
    const gone = (why) => {
      place.hidden = true;
      place.parentElement.querySelector(".no-viewer").textContent = why;
    };
    if (typeof niivue === "undefined") continue;
    if (!hasWebGL()) {
      gone("This browser draws no WebGL, so there are still pictures only.");
      continue;
    }
    place.hidden = false;
    new Viewer(place).start().catch((error) => {
      gone(`The viewer could not start (${error.message}); the still pictures remain.`);
    });
  }
})();
