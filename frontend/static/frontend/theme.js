// SPDX-License-Identifier: Apache-2.0
// Sets the colour theme before the first paint. Loaded in the head, without defer, so that nothing flashes.
(function () {
  "use strict";
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  function chosen() {
    try { return window.localStorage.getItem("viaduct-theme") || "system"; } catch (error) { return "system"; }
  }
  function apply() {
    var theme = chosen();
    document.documentElement.setAttribute("data-bs-theme", theme === "system" ? (dark.matches ? "dark" : "light") : theme);
    document.documentElement.setAttribute("data-theme-choice", theme);
  }
  apply();
  dark.addEventListener("change", apply);
  window.viaductTheme = {
    choice: chosen,
    choose: function (theme) {
      try { window.localStorage.setItem("viaduct-theme", theme); } catch (error) { /* private mode: for this page only */ }
      apply();
    }
  };
})();
