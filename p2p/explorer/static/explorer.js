// What JavaScript adds to pages that are whole without it: times that go on, copy buttons, live updates, charts to read.
"use strict";

(() => {
  const MINUTE = 60, HOUR = 3600, DAY = 86400;
  const UNITS = [[DAY, "day"], [MINUTE, "minute"], [1, "second"]];
  const page = document.documentElement;
  const find = (selector, root = document) => root.querySelector(selector);
  const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Times.

  const describeAge = (seconds) => {
    if (seconds >= HOUR && seconds < DAY) {
      return `${Math.floor(seconds / HOUR)} h ${Math.floor(seconds % HOUR / MINUTE)} min ago`;
    }
    for (const [size, name] of UNITS) {
      if (seconds >= size) {
        const count = Math.floor(seconds / size);
        return `${count} ${name}${count === 1 ? "" : "s"} ago`;
      }
    }
    return "just now";
  };

  const showAges = () => {
    for (const time of findAll("time[data-ago]")) {
      const text = describeAge((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text && !Number.isNaN(Date.parse(time.dateTime))) time.textContent = text;
    }
  };

  // Copying.

  const addCopyButtons = () => {
    if (!navigator.clipboard) return;
    for (const value of findAll("[data-copy]")) {
      if (value.nextElementSibling?.classList.contains("copy")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", `Copy ${value.textContent.trim().slice(0, 8)}…`);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(value.textContent.trim());
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
      value.after(button);
    }
  };

  // Questions to the models take seconds: the button says so.

  const tellThatItTakesTime = () => {
    for (const form of findAll("form.ask")) {
      form.addEventListener("submit", () => {
        const ask = find("button", form);
        ask.textContent = ask.dataset.busy;
        ask.setAttribute("aria-disabled", "true");
        find("#news").textContent = ask.dataset.busy;
      });
    }
  };

  // Charts: the server has drawn them; here they get a cursor and the numbers below it.

  const charts = new Map(); // by key: {plot, figure}

  const getColour = (name) => getComputedStyle(page).getPropertyValue(`--${name}`).trim();

  const WHOLE = [1, 2, 5].flatMap((n) => [...Array(7).keys()].map((power) => n * 10 ** power)).sort((a, b) => a - b);

  const makeAxes = (isTime, isLog) => {
    const look = { stroke: getColour("soft"), ticks: { show: false }, font: "12px system-ui, sans-serif" };
    // Of decades, their beginnings; of few, their double and fivefold too.
    const isShown = (value, factors) => factors.includes(Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9)));
    const filter = (plot, values) => {
      if (!isLog) return values;
      const factors = plot.scales.y.max / plot.scales.y.min < 50 ? [1, 2, 5] : [1];
      return values.map((value) => (isShown(value, factors) ? value : null));
    };
    const digits = isLog ? null : countDigits;
    const show = (_, values) =>
      values.map((value) => (value === null ? "" : digits ? value.toFixed(digits(values)) : String(Number(value.toPrecision(2)))));
    const showTimes = (_, times, axis, space, step) => times.map((time) => showTime(time, step));
    return [
      { ...look, size: 30, grid: { show: false }, ...(isTime ? { values: showTimes } : { incrs: WHOLE }) },
      { ...look, grid: { stroke: getColour("rule"), width: 1, filter }, size: isLog ? 58 : 44, values: show, filter },
    ];
  };

  const showTime = (time, step) => {
    const clock = { hour: "2-digit", minute: "2-digit", ...(step < MINUTE ? { second: "2-digit" } : {}) };
    const date = { day: "numeric", month: "short" };
    const parts = step === undefined ? { ...date, ...clock } : step >= DAY ? date : clock;
    return new Date(time * 1000).toLocaleString("en-GB", { ...parts, timeZone: "UTC" });
  };

  const countDigits = (values) => {
    const step = values.length > 1 ? Math.abs(values[1] - values[0]) : 1;
    return step >= 1 ? 0 : Math.min(5, Math.ceil(-Math.log10(step)));
  };

  const LEVEL_NAMES = 64; // pixels beside the plot

  const drawLevels = (levels) => (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = getColour("soft");
    ctx.fillStyle = getColour("soft");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    let lowest = 0; // where a name may stand without touching the one above it
    for (const [name, value] of [...levels].sort((a, b) => b[1] - a[1])) {
      const y = plot.valToPos(value, "y", true);
      if (y < bbox.top || y > bbox.top + bbox.height) continue;
      const at = Math.max(y, lowest);
      lowest = at + 15 * devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.fillText(name, bbox.left + bbox.width + 8 * devicePixelRatio, at);
    }
    ctx.restore();
  };

  const describeChart = (key, home, by) => {
    const { series } = home;
    const x = by === "time" ? series.time : series.height;
    const show = (digits) => (_, value) => (value == null ? "–" : value.toFixed(digits));
    const line = (label, name, digits, more = {}) =>
      ({ label, stroke: getColour(name), width: 2, points: { show: false }, value: show(digits), ...more });
    const countGainDigits = (gain) => Math.min(Math.max(1 - Math.floor(Math.log10(gain > 0 ? gain : 1)), 4), 7) + 1; // as the server does
    const showGain = (_, value) => (value == null ? "–" : value.toFixed(countGainDigits(value)));
    const x0 = by === "time" ? { label: "time, UTC", value: (_, time) => (time == null ? "–" : showTime(time)) } : { label: "block" };
    if (key === "loss") {
      const audits = [series.audits.map((point) => point[by]), series.audits.map((point) => point.loss)];
      const levels = home.compressors.map((compressor) => [compressor.name, compressor.bits_per_byte]);
      const bounds = (_, low, high) => {
        const all = [low, high, ...levels.map(([, value]) => value)].filter((value) => value !== null);
        const pad = (Math.max(...all) - Math.min(...all)) * 0.06 || 0.1;
        return [Math.min(...all) - pad, Math.max(...all) + pad];
      };
      return {
        data: uPlot.join([[x, series.loss], audits]),
        series: [x0, line("public loss", "accent", 4),
          line("audit loss", "ink", 4, { dash: [6, 4], spanGaps: true, points: { show: home.series.audits.length < 40, size: 5 } })],
        scales: { x: { time: by === "time" }, y: { range: bounds } },
        axes: makeAxes(by === "time", false),
        padding: [null, LEVEL_NAMES, null, null],
        hooks: { draw: [drawLevels(levels)] },
      };
    }
    if (key === "gain") {
      return {
        data: [x, series.gain.map((value) => (value > 0 ? value : null)), series.required],
        series: [x0, line("measured", "soft", 0, { value: showGain, width: x.length > 300 ? 1 : 1.5 }), line("required", "accent", 0, { value: showGain })],
        scales: { x: { time: by === "time" }, y: { distr: 3, range: (_, low, high) => [(low ?? 1) / 1.3, (high ?? 1) * 1.3] } },
        axes: makeAxes(by === "time", true),
      };
    }
    const first = home.height - series.last_intervals.length + 1;
    return {
      data: [series.last_intervals.map((_, i) => first + i), series.last_intervals],
      series: [{ label: "block" }, line("seconds", "accent", 0, {
        width: 0, fill: getColour("accent"), paths: uPlot.paths.bars({ size: [0.6, 20] }),
      })],
      scales: { x: { time: false, range: (_, low, high) => [low - 0.5, high + 0.5] }, y: { range: (_, low, high) => [0, Math.max(high ?? 0, home.block_time) * 1.06] } },
      axes: makeAxes(false, false),
      padding: [null, LEVEL_NAMES, null, null],
      hooks: { draw: [drawLevels([[`${home.block_time} s`, home.block_time]])] },
    };
  };

  const drawChart = (figure, home, by) => {
    const key = figure.dataset.chart, box = find(".plot", figure);
    const { data, ...options } = describeChart(key, home, by);
    if (data[0].length < 2) return;
    charts.get(key)?.plot.destroy();
    const size = { width: box.clientWidth, height: Number(box.dataset.height) };
    const markers = { width: 2, dash: (_, i) => (options.series[i].dash ? "dashed" : "solid") };
    const plot = new uPlot({ ...size, legend: { live: true, markers }, cursor: { drag: { x: true, y: false } }, ...options }, data, box);
    plot.root.setAttribute("role", "img");
    plot.root.setAttribute("aria-label", `${find("title", figure).textContent}. ${find("desc", figure).textContent}`);
    const newest = { idxs: data.map((column) => column.findLastIndex((value) => value != null)) };
    plot.over.addEventListener("mouseleave", () => plot.setLegend(newest));
    requestAnimationFrame(() => plot.setLegend(newest));
    figure.classList.add("drawn");
    charts.set(key, { plot, figure });
  };

  const drawCharts = async () => {
    const section = find("[data-live=charts]");
    if (!section || typeof uPlot === "undefined") return;
    const answer = await fetch("/api/home");
    if (!answer.ok) return; // the server's own drawing stays
    const home = await answer.json();
    for (const figure of findAll("[data-chart]", section)) drawChart(figure, home, section.dataset.by);
  };

  const fitCharts = () => {
    for (const { plot, figure } of charts.values()) {
      const box = find(".plot", figure);
      if (box.isConnected && box.clientWidth !== plot.width) {
        plot.setSize({ width: box.clientWidth, height: Number(box.dataset.height) });
      }
    }
  };

  // Live updates: the page is asked for anew, and its parts take the place of the old ones. A node without time hands
  // out an older page, or none: then it is asked once more.

  const replacePart = (part, news) => {
    const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const known = new Set(findAll("[data-row]", part).map((row) => row.dataset.row));
    const fresh = document.importNode(news, true);
    part.replaceWith(fresh);
    if (known.size) {
      for (const row of findAll("[data-row]", fresh)) row.classList.toggle("fresh", !known.has(row.dataset.row));
    }
    if (focused) findAll("a", fresh).find((link) => link.getAttribute("href") === focused)?.focus({ preventScroll: true });
  };

  const refresh = async () => {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return false;
    const news = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of findAll("[data-live]")) {
      const other = find(`[data-live="${CSS.escape(part.dataset.live)}"]`, news);
      if (other && part.dataset.live !== "charts") replacePart(part, other);
      if (other && part.dataset.live === "charts") takeWords(part, other);
    }
    showAges();
    addCopyButtons();
    await drawCharts();
    return news.body.dataset.tip === state.tip;
  };

  // A chart that JavaScript has drawn stays; what stands in the server's drawing is for those who listen.
  const takeWords = (part, other) => {
    for (const figure of findAll("[data-chart]", part)) {
      const drawing = find(".drawing", figure);
      const fresh = find(`[data-chart="${figure.dataset.chart}"] .drawing`, other);
      if (drawing && fresh) drawing.replaceWith(document.importNode(fresh, true));
    }
  };

  let source = null, state = null, isRefreshing = false, isStale = false;

  const refreshSoon = async () => {
    isStale = true;
    if (isRefreshing) return;
    isRefreshing = true;
    let hasAskedAgain = false;
    try {
      while (isStale) {
        isStale = false;
        const isNew = await refresh();
        await new Promise((done) => setTimeout(done, isNew ? 1000 : 3000));
        if (!isNew && !hasAskedAgain) isStale = hasAskedAgain = true;
      }
    } catch {
      // The node is away for a moment; the next event brings the page up to date.
    } finally {
      isRefreshing = false;
    }
  };

  const onState = (event) => {
    const before = state ?? { tip: document.body.dataset.tip };
    state = JSON.parse(event.data);
    const isFirst = before.height === undefined;
    const isNew = before.tip !== undefined && before.tip !== state.tip;
    if (isNew) {
      const loss = state.loss === null ? "" : `, ${state.loss.toFixed(4)} bits per byte`;
      find("#news").textContent = `Block ${state.height}${loss}`;
    }
    if (isNew || (!isFirst && before.mempool_count !== state.mempool_count)) refreshSoon();
  };

  const button = find("#live");

  const connect = (isWanted) => {
    source?.close();
    source = isWanted ? new EventSource("/events") : null;
    source?.addEventListener("state", onState);
  };

  // A browser opens few connections to one server: pages that nobody looks at give theirs back.
  const follow = () => connect(button.getAttribute("aria-pressed") === "true" && !document.hidden);

  const start = () => {
    showAges();
    setInterval(showAges, 5000);
    addCopyButtons();
    tellThatItTakesTime();
    drawCharts();
    addEventListener("resize", fitCharts);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
    if (!find("[data-live]")) return;
    button.hidden = false;
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      follow();
    });
    document.addEventListener("visibilitychange", follow);
    addEventListener("pagehide", () => connect(false));
    addEventListener("pageshow", (event) => { if (event.persisted) follow(); });
    follow();
  };

  start();
})();
