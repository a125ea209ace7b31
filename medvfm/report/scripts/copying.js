// Buttons that put the text of a part of the page on the clipboard, or select it where a browser allows no more.

document.querySelectorAll("button[data-copies]").forEach((button) => {
  const part = document.getElementById(button.dataset.copies);
  const told = button.parentElement.querySelector("output");
  button.parentElement.hidden = false;
  button.addEventListener("click", async () => {
    const said = [...part.querySelectorAll("p")].map((paragraph) => paragraph.textContent.trim()).join("\n\n");
    try {
      await navigator.clipboard.writeText(said);
      told.textContent = "copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(part);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      told.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl+C";
    }
  });
});
