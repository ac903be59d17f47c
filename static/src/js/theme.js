// Sets light or dark before the first paint (blocking, in the head) and keeps the choice in a cookie.
// Without it the page still follows the system: css/base.css gives data-bs-theme="auto" both colour schemes.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  root.dataset.js = "";
  let choice = root.dataset.scheme || "auto";

  const apply = () => {
    root.dataset.bsTheme = choice === "auto" ? (system.matches ? "dark" : "light") : choice;
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice));
    }
  };

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", apply);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-choice]");
    if (!button) return;
    choice = button.dataset.themeChoice;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `theme=${choice}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
    apply();
    // Charts and maps draw with colours that they read once.
    document.dispatchEvent(new CustomEvent("themechange", { detail: root.dataset.bsTheme }));
  });
})();
