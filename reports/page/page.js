for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const name = head.textContent;
    const button = document.createElement("button");
    button.title = `Sort by ${name}`;
    button.setAttribute("aria-label", button.title);
    head.append("\u2060\u00a0\u2060", button);
    head.addEventListener("click", (event) => {
      if (event.target.closest("a")) return;
      const rising = head.getAttribute("aria-sort") !== "ascending";
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "–" || y === "–") return (x === "–") - (y === "–");
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
        return rising ? order : -order;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    });
  });
}

const folded = () => [...document.querySelectorAll("details:not([open])")];
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const fold = target?.closest("details");
  if (!fold || fold.open) return;
  fold.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();

let opened = [];
addEventListener("beforeprint", () => (opened = folded()).forEach((fold) => (fold.open = true)));
addEventListener("afterprint", () => opened.forEach((fold) => (fold.open = false)));

const cue = (box) => {
  const hidden = box.scrollWidth - box.clientWidth;
  box.classList.toggle("more-left", box.scrollLeft > 2);
  box.classList.toggle("more-right", box.scrollLeft < hidden - 2);
};
const sized = new ResizeObserver((entries) => entries.forEach((entry) => cue(entry.target)));
document.querySelectorAll(".scroll").forEach((box) => {
  box.insertAdjacentHTML("afterend", '<p class="cue" aria-hidden="true">← scroll sideways →</p>');
  box.addEventListener("scroll", () => cue(box), { passive: true });
  sized.observe(box);
});

const menu = document.createElement("button");
menu.className = "menu";
menu.textContent = "Sections";
menu.setAttribute("aria-expanded", "false");
const toggle = (open) => menu.setAttribute("aria-expanded", String(open));
menu.addEventListener("click", () => toggle(menu.getAttribute("aria-expanded") === "false"));
document.querySelector("nav p").after(menu);
document.querySelector("nav ol").addEventListener("click", (event) => event.target.closest("a") && toggle(false));

const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  },
  { rootMargin: "-10% 0px -80% 0px" },
);
document.querySelectorAll("main section").forEach((section) => seen.observe(section));
