// SPDX-License-Identifier: Apache-2.0
// What pages do beyond HTML: theme button, counters in the drawing, live changes, menus that close.
// Every page works without it.
(function () {
  "use strict";
  var THEMES = { system: ["light", "Theme: system"], light: ["dark", "Theme: light"], dark: ["system", "Theme: dark"] };
  var ICONS = { system: "#i-brightness-auto", light: "#i-sun", dark: "#i-moon" };

  function themeButton(button) {
    function show() {
      var choice = window.viaductTheme.choice();
      var look = THEMES[choice] ? choice : "system";
      button.querySelector("span").textContent = THEMES[look][1];
      button.querySelector("use").setAttribute("href", ICONS[look]);
      button.setAttribute("aria-label", THEMES[look][1] + ". Switch to " + THEMES[look][0] + ".");
    }
    button.addEventListener("click", function () {
      var choice = window.viaductTheme.choice();
      window.viaductTheme.choose((THEMES[choice] || THEMES.system)[0]);
      show();
    });
    show();
    button.hidden = false;
  }

  // The drawing is never laid out anew: only the texts of its counters change.
  function copyCounters() {
    document.querySelectorAll("[data-counter-source]").forEach(function (source) {
      var name = source.getAttribute("data-counter-source");
      document.querySelectorAll('[data-counter="' + CSS.escape(name) + '"]').forEach(function (target) {
        var text = source.getAttribute("data-short");
        if (target.textContent !== text) { target.textContent = text; }
      });
    });
  }

  // What scrolls sideways can be reached by keyboard; what does not scroll is no stop on the way.
  function markScrollers() {
    document.querySelectorAll(".scroll").forEach(function (region) {
      if (region.scrollWidth > region.clientWidth) {
        var section = region.closest("section, .panel");
        var title = section && section.querySelector("h2, h3");
        region.setAttribute("tabindex", "0");
        region.setAttribute("role", "region");
        region.setAttribute("aria-label", (title ? title.textContent.trim() : "Table") + ", scrolls sideways");
      } else {
        ["tabindex", "role", "aria-label"].forEach(function (name) { region.removeAttribute(name); });
      }
    });
  }

  // Events only ring; what is shown always comes from the server as one fragment.
  function followChange(holder) {
    var timer = null;
    var polling = null;
    var source = null;
    function refresh() {
      timer = null;
      var progress = document.getElementById("progress");
      if (progress) { progress.dispatchEvent(new CustomEvent("viaduct:refresh")); }
    }
    function ring() { if (timer === null) { timer = window.setTimeout(refresh, 150); } }
    function stop() {
      if (source) { source.close(); }
      if (polling !== null) { window.clearInterval(polling); polling = null; }
    }
    function poll() { if (polling === null) { polling = window.setInterval(ring, 2000); } }
    document.body.addEventListener("htmx:afterSettle", function () {
      var progress = document.getElementById("progress");
      if (progress && !progress.hasAttribute("data-live")) { stop(); }
    });
    if (!("EventSource" in window)) { poll(); return; }
    source = new EventSource(holder.getAttribute("data-stream"));
    source.addEventListener("log", ring);
    source.addEventListener("moved", ring);
    source.addEventListener("end", function () { stop(); ring(); });
    source.onerror = function () { if (source.readyState === EventSource.CLOSED) { poll(); } };
    source.onopen = function () { if (polling !== null) { window.clearInterval(polling); polling = null; } };
  }

  function closeMenus(event) {
    document.querySelectorAll("details.menu[open], details.confirm[open]").forEach(function (menu) {
      if (event.type === "keydown") {
        if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
      } else if (!menu.contains(event.target)) { menu.open = false; }
    });
  }

  document.querySelectorAll("[data-theme-toggle]").forEach(themeButton);
  document.querySelectorAll("[data-stream]").forEach(followChange);
  document.querySelectorAll("[data-focus]").forEach(function (element) { element.focus(); });
  document.addEventListener("click", closeMenus);
  document.addEventListener("keydown", closeMenus);
  document.body.addEventListener("htmx:afterSettle", copyCounters);
  document.body.addEventListener("htmx:afterSettle", markScrollers);
  window.addEventListener("resize", markScrollers);
  document.addEventListener("toggle", markScrollers, true);
  markScrollers();
})();
