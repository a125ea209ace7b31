// Pictures open large over the page; arrow keys go to the next one, Escape closes.

const gallery = [...document.querySelectorAll(".gallery figure > img")];

if (gallery.length) {
  const dialog = document.createElement("dialog");
  const picture = document.createElement("img");
  const caption = document.createElement("p");
  const controls = document.createElement("div");
  dialog.className = "large";
  controls.className = "controls";
  dialog.setAttribute("aria-label", "Picture");
  let place = 0;

  function show(next) {
    place = (next + gallery.length) % gallery.length;
    picture.src = gallery[place].src;
    picture.alt = gallery[place].alt;
    caption.textContent = gallery[place].closest("figure").querySelector("figcaption")?.textContent.trim() ?? "";
  }

  for (const [name, act] of [
    ["Previous", () => show(place - 1)], ["Next", () => show(place + 1)], ["Close", () => dialog.close()],
  ]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", act);
    controls.append(button);
  }
  dialog.append(controls, picture, caption);
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(place - 1);
    if (event.key === "ArrowRight") show(place + 1);
  });
  dialog.addEventListener("close", () => gallery[place].parentElement.focus());

  gallery.forEach((shown, n) => {
    const opener = document.createElement("button");
    opener.type = "button";
    opener.className = "opens";
    opener.setAttribute("aria-label", `Enlarge: ${shown.alt}`);
    shown.before(opener);
    opener.append(shown);
    opener.addEventListener("click", () => {
      if (!dialog.isConnected) document.body.append(dialog);
      show(n);
      dialog.showModal();
    });
  });
}
