"use strict";

// The contents are longer than the window: show the place of this page in them.
addEventListener("DOMContentLoaded", () => {
  const contents = document.querySelector(".sidebar-scroll");
  const current = contents?.querySelector(".current-page");
  if (current) {
    const below = current.getBoundingClientRect().top - contents.getBoundingClientRect().top;
    contents.scrollTop += below - contents.clientHeight / 2;
  }
});
