"use strict";
(() => {
  const body = document.body;
  // Airflow's UI of 3.0 keeps its token there, and sends it with its own requests only. Right after the login it is
  // still in a cookie, which that server does not read. Newer ones read theirs, and show it to no script.
  const token = () => {
    const cookie = /(?:^|; )_token=([^;]+)/.exec(document.cookie)?.[1];
    try { return cookie ?? localStorage.getItem("token"); } catch { return cookie; }
  };
  const framed = window.parent !== window;

  // The colours that were chosen in Airflow's UI, not only those of the system.
  const theme = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  if (["light", "dark"].includes(theme())) document.documentElement.dataset.theme = theme();

  const ask = (address) => {
    const held = token();
    return fetch(address, { headers: held ? { Authorization: `Bearer ${held}` } : {} });
  };

  if ("door" in body.dataset) {
    const enter = async () => {
      const answer = token() ? await ask(location.href) : null;
      if (!answer || answer.status === 401) { location.assign(body.dataset.login); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.title = page.title;
      delete body.dataset.door;
      body.replaceChildren(...page.body.childNodes);
      begin();
      if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
    };
    enter();
    return;
  }
  begin();

  function begin() {
    filter();
    document.addEventListener("click", leaveFrame);
    setInterval(renew, 60000);
  }

  // Within Airflow's UI the page is in a frame: links to Airflow's own pages belong to the window around it.
  function leaveFrame(event) {
    const link = event.target.closest("a[data-airflow]");
    if (!link || !framed || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const outer = window.parent.document.createElement("a");
    outer.href = link.href;
    window.parent.document.body.append(outer);
    outer.click();
    outer.remove();
  }

  function filter() {
    const form = document.querySelector("form.filter");
    if (!form) return;
    const rows = [...document.querySelectorAll("table.overview tbody tr")];
    const show = () => {
      const text = form.find.value.trim().toLowerCase();
      const kind = form.kind.value;
      for (const row of rows) {
        row.hidden = !row.dataset.name.toLowerCase().includes(text) || (kind !== "" && row.dataset.kind !== kind);
      }
      const seen = rows.filter((row) => !row.hidden).length;
      document.querySelector(".found").textContent = seen === rows.length ? "" : `${seen} of ${rows.length} pipelines`;
    };
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", show);
    show();
  }

  // The newest figures, without losing the place, what was opened, or what is being typed.
  async function renew() {
    const main = document.getElementById("main");
    if (document.hidden || main.contains(document.activeElement)) return;
    const answer = await ask(location.href).catch(() => null);
    if (!answer?.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("main");
    const open = [...main.querySelectorAll("details")].map((one) => one.open);
    [...fresh.querySelectorAll("details")].forEach((one, place) => { one.open = open[place] ?? false; });
    const [find, kind] = [main.querySelector("#find")?.value, main.querySelector("[name=kind]:checked")?.value];
    document.querySelector("header .at").replaceChildren(...page.querySelector("header .at").childNodes);
    main.replaceChildren(...fresh.childNodes);
    if (find !== undefined) main.querySelector("#find").value = find;
    main.querySelectorAll("[name=kind]").forEach((one) => { if (one.value === kind) one.checked = true; });
    filter();
  }
})();
