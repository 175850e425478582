// The link's page. No request leaves from here: the code comes from this page's address, a chair link's secret from its
// fragment, and both go into the program's link and nowhere else.
"use strict";

const CODE = /^\/m\/([a-km-np-z2-9]{4}-?[a-km-np-z2-9]{4}-?[a-km-np-z2-9]{4})\/?$/i;
const SECRET = /^#k=([A-Za-z0-9_-]{16,128})$/;

const path = CODE.exec(location.pathname);
const secret = SECRET.exec(location.hash);
const program = path === null ? null : "vidconf://" + location.host + "/m/" + path[1].toLowerCase() + (secret === null ? "" : "#k=" + secret[1]);

function each(selector, change) {
  document.querySelectorAll(selector).forEach(change);
}

function speak(language) {
  document.documentElement.lang = language;
  each(".words", (section) => { section.hidden = section.lang !== language; });
  each("nav button", (button) => button.setAttribute("aria-pressed", String(button.id === language)));
}

each("[data-if]", (element) => { element.hidden = (element.dataset.if === "code") !== (program !== null); });
each("[data-code]", (element) => { element.textContent = path === null ? "" : path[1].toLowerCase(); });
each("nav button", (button) => button.addEventListener("click", () => speak(button.id)));
each("[data-copy]", (button) => button.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    each("[data-copied]", (mark) => { mark.hidden = false; });
  } catch {
    window.prompt("vidconf", location.href);
  }
}));

const wanted = (navigator.languages || [navigator.language || "vi"])[0] || "vi";
speak(wanted.toLowerCase().startsWith("en") ? "en" : "vi");

if (program !== null) {
  each("[data-start]", (link) => { link.href = program; });
  // Once by itself; where the program is missing the browser stays on this page, which says what to do.
  window.setTimeout(() => { location.href = program; }, 300);
}
