// 100 patients at another prevalence than that of the data. Sensitivity and specificity stay: an exploration, and said so.

function percent(value) { return Number.isFinite(value) ? `${Math.round(100 * value)}%` : "not defined"; }

document.querySelectorAll(".frequencies").forEach((root) => {
  const of = Number(root.dataset.of);
  const sensitivity = Number(root.dataset.sensitivity), specificity = Number(root.dataset.specificity);
  const slider = root.querySelector("input"), told = root.querySelector("output");
  const figures = [...root.querySelectorAll("svg > g")], said = root.querySelector(".said");
  const asFound = [...said.childNodes], begun = slider.value, classes = figures.map((figure) => figure.getAttribute("class"));

  slider.addEventListener("input", () => {
    const prevalence = Number(slider.value) / 100;
    const ill = Math.round(of * prevalence), found = Math.round(ill * sensitivity);
    const alarms = Math.round((of - ill) * (1 - specificity));
    const kinds = [["tp", found], ["fn", ill - found], ["fp", alarms], ["tn", of - ill - alarms]]
      .flatMap(([kind, count]) => Array(count).fill(kind));
    const moved = slider.value !== begun;
    figures.forEach((figure, n) => figure.setAttribute("class", moved ? kinds[n] : classes[n]));
    if (moved) {
      said.textContent = `Exploratory: of ${of} ${root.dataset.unit} among whom ${ill} have ${root.dataset.name}, ` +
        `${found} are found and ${ill - found} missed; of the ${of - ill} without it ${alarms} are false alarms.`;
    } else said.replaceChildren(...asFound);
    const positive = prevalence * sensitivity + (1 - prevalence) * (1 - specificity);
    const ppv = prevalence * sensitivity / positive, npv = (1 - prevalence) * specificity / (1 - positive);
    told.textContent = `${slider.value}%: positive predictive value ${percent(ppv)}, negative ${percent(npv)}`;
  });
  root.querySelector(".controls").hidden = false;
  root.querySelector(".exploratory").hidden = false;
  told.textContent = `${slider.value}%`;
});
