// The slice viewer: one volume at a time, a slider, the wheel or arrow keys through its slices, truth and prediction
// outlined, sides, a scale bar. It opens on the slice with the largest error.

const TRUTH = "#56b4e9", PREDICTION = "#ff9d2e", HALO = "rgba(0, 0, 0, .55)";

function pictureOf(uri) {
  return new Promise((done) => {
    const picture = new Image();
    picture.onload = () => done(picture);
    picture.src = uri;
  });
}

function edgesOf(labels, width, height, value) {
  // Sides of pixels between the structure and what is not of it, as [x0, y0, x1, y1]; value 0: between any labels.
  const found = [];
  const same = value ? (a, b) => (a === value) === (b === value) : (a, b) => a === b;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const here = labels[y * width + x];
      if (x + 1 < width && !same(here, labels[y * width + x + 1])) found.push([x + 1, y, x + 1, y + 1]);
      if (y + 1 < height && !same(here, labels[(y + 1) * width + x])) found.push([x, y + 1, x + 1, y + 1]);
    }
  }
  return found;
}

class Viewer {
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.slider = root.querySelector("input[type=range]");
    this.place = root.querySelector("output");
    this.structure = root.querySelector("select");
    this.cases = [...root.querySelectorAll("button[data-picture]")];
    this.layers = new Map([...root.querySelectorAll("input[type=checkbox]")].map((box) => [box.name, box]));
    this.slider.addEventListener("input", () => this.draw());
    this.structure?.addEventListener("change", () => this.draw());
    this.layers.forEach((box) => box.addEventListener("change", () => this.draw()));
    this.cases.forEach((button) => button.addEventListener("click", () => this.open(button)));
    this.canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== this.canvas) return; // the page scrolls until the picture has been chosen
      event.preventDefault();
      this.move(Math.sign(event.deltaY));
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -5, PageDown: 5 }[event.key];
      if (step) { event.preventDefault(); this.move(step); }
    });
    root.hidden = false;
    this.open(this.cases[0]);
  }

  async open(button) {
    this.cases.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    this.facts = JSON.parse(button.dataset.facts);
    const [picture, labels] = await Promise.all([button.dataset.picture, button.dataset.labels].map(pictureOf));
    if (button.getAttribute("aria-pressed") !== "true") return; // another was chosen meanwhile
    const sheet = new OffscreenCanvas(labels.width, labels.height);
    this.sheet = sheet.getContext("2d", { willReadFrequently: true });
    this.sheet.drawImage(labels, 0, 0);
    this.picture = picture;
    this.slider.max = String(this.facts.slices.length - 1);
    this.slider.value = String(this.facts.first);
    if (this.structure) this.structure.value = String(this.facts.structure ?? 0);
    const [width, height] = this.facts.size_px;
    this.scale = Math.max(1, Math.round(640 / Math.max(width, height)));
    this.canvas.width = width * this.scale;
    this.canvas.height = height * this.scale;
    this.draw();
  }

  move(step) {
    this.slider.value = String(Number(this.slider.value) + step);
    this.draw();
  }

  draw() {
    if (!this.picture) return;
    const n = Number(this.slider.value);
    const [width, height] = this.facts.size_px;
    const left = (n % this.facts.columns) * width, top = Math.floor(n / this.facts.columns) * height;
    const pen = this.canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.picture, left, top, width, height, 0, 0, this.canvas.width, this.canvas.height);
    const pixels = this.sheet.getImageData(left, top, width, height).data;
    const value = Number(this.structure?.value ?? 0);
    [["truth", 0, TRUTH], ["prediction", 1, PREDICTION]].forEach(([name, channel, colour]) => {
      if (!this.layers.get(name).checked) return;
      const labels = new Uint8Array(width * height);
      for (let p = 0; p < labels.length; p += 1) labels[p] = pixels[4 * p + channel];
      this.outline(pen, edgesOf(labels, width, height, value), colour, channel === 1);
    });
    this.letter(pen);
    this.measure(pen);
    this.place.textContent = `slice ${this.facts.slices[n]} of ${this.facts.total}`;
    this.slider.setAttribute("aria-valuetext", this.place.textContent);
  }

  outline(pen, edges, colour, dashed) {
    const s = this.scale;
    for (const [ink, line] of [[HALO, 4], [colour, 2]]) {
      pen.beginPath();
      for (const [x0, y0, x1, y1] of edges) {
        if (dashed && (x0 + y0) % 3 === 0) continue;
        pen.moveTo(x0 * s, y0 * s);
        pen.lineTo(x1 * s, y1 * s);
      }
      pen.strokeStyle = ink;
      pen.lineWidth = line;
      pen.lineCap = "round";
      pen.stroke();
    }
  }

  write(pen, text, x, y, align, baseline) {
    pen.font = "600 17px system-ui, sans-serif";
    pen.textAlign = align;
    pen.textBaseline = baseline;
    pen.strokeStyle = "#000";
    pen.lineWidth = 3;
    pen.strokeText(text, x, y);
    pen.fillStyle = "#ebebeb";
    pen.fillText(text, x, y);
  }

  letter(pen) {
    const { width, height } = this.canvas;
    const [west, east, north, south] = this.facts.ends;
    this.write(pen, west, 8, height / 2, "left", "middle");
    this.write(pen, east, width - 8, height / 2, "right", "middle");
    this.write(pen, north, width / 2, 8, "center", "top");
    this.write(pen, south, width / 2, height - 8, "center", "bottom");
  }

  measure(pen) {
    const perMm = this.scale / this.facts.mm_per_px;
    const length = [100, 50, 20, 10, 5, 2, 1].find((mm) => mm * perMm < this.canvas.width / 4) ?? 1;
    const right = this.canvas.width - 14, low = this.canvas.height - 14;
    pen.fillStyle = "#ebebeb";
    pen.fillRect(right - length * perMm, low - 3, length * perMm, 3);
    this.write(pen, `${length} mm`, right, low - 8, "right", "bottom");
  }
}

document.querySelectorAll(".viewer").forEach((root) => new Viewer(root));
