// What is wrong with the page as it is shown now: a list of sentences.
(() => {
  const problems = [];
  const complain = (what, where) => problems.push(`${what}: ${where}`);
  const shown = element => element.getClientRects().length > 0 && element.checkVisibility();
  const describe = element => {
    const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 60);
    return `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ${text}`;
  };
  document.querySelectorAll("details").forEach(details => (details.open = true));
  const all = [...document.querySelectorAll("body *")];

  // Colours, as sRGB with alpha, composed over what is behind.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = color => known.get(color) ?? known.set(color, parsed(color)).get(color);
  const parsed = color => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
  const background = element => {
    if (!element) {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches && !matchMedia("print").matches;
      return dark ? [18, 18, 18] : [255, 255, 255];
    }
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, background(element.parentElement));
  };
  const luminance = color => {
    const [r, g, b] = color.map(c => c / 255).map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (color, behind) => {
    const [light, dark] = [luminance(over(rgba(color), behind)), luminance(behind)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };

  // Text: readable in colour and size.
  let texts = 0;
  for (const element of all) {
    const text = [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!text || !shown(element) || element.matches("title, desc")) continue;
    texts += 1;
    const style = getComputedStyle(element);
    const drawing = element.ownerSVGElement;
    const size = parseFloat(style.fontSize) * (drawing ? element.getScreenCTM().a : 1);
    if (size < 11) complain(`text of ${size.toFixed(1)} px`, describe(element));
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const found = contrast(drawing ? style.fill : style.color, background(element));
    if (found < (large ? 3 : 4.5)) complain(`contrast of ${found.toFixed(2)}`, describe(element));
  }
  if (texts < 20) complain("there is hardly any text", texts);
  for (const bar of document.querySelectorAll(".bar, .mark")) {
    if (!shown(bar)) continue;
    const style = getComputedStyle(bar);
    const color = bar.matches("rect") ? style.fill : bar.matches("path") ? style.stroke : style.backgroundColor;
    const found = contrast(color, background(bar.parentElement));
    if (found < 3) complain(`contrast of a drawing of ${found.toFixed(2)}`, describe(bar));
  }

  // Nothing is wider than the page, or than the box that it is in; a table may scroll in its own.
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) complain("the page scrolls sideways", `${root.scrollWidth} > ${root.clientWidth}`);
  for (const element of all) {
    if (!shown(element) || element.ownerSVGElement || element.matches("caption")) continue;
    const { left, right } = element.getBoundingClientRect();
    if (element.closest(".scroll") && !element.matches(".scroll")) continue;
    if (left < -0.5 || right > root.clientWidth + 0.5) complain("outside of the page", describe(element));
    const overflows = element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== "inline";
    if (overflows && !(element.matches(".scroll") && getComputedStyle(element).overflowX === "auto")) {
      complain("content wider than its box", describe(element));
    }
  }

  // Drawings: named, described, told in numbers, within their frame, and no text on another.
  for (const drawing of document.querySelectorAll("svg")) {
    const said = id => drawing.querySelector(`[id="${id}"]`)?.textContent.trim();
    const labels = (drawing.getAttribute("aria-labelledby") ?? "").split(" ");
    if (drawing.getAttribute("role") !== "img") complain("a drawing without role", describe(drawing));
    if (!labels.every(said) || !drawing.querySelector(":scope > title") || !drawing.querySelector(":scope > desc")) {
      complain("a drawing without title and description", describe(drawing));
    }
    if (!drawing.closest("section").querySelector("details table")) complain("a drawing without numbers", describe(drawing));
    if (!shown(drawing)) continue;
    const frame = drawing.viewBox.baseVal;
    const boxes = [...drawing.querySelectorAll("text")].map(text => ({ text: text.textContent, box: text.getBBox() }));
    const parts = [...drawing.querySelectorAll("rect, path")].map(part => ({ text: part.tagName, box: part.getBBox() }));
    for (const { text, box } of [...boxes, ...parts]) {
      const inside = box.x >= -0.5 && box.y >= -0.5 && box.x + box.width <= frame.width + 0.5 && box.y + box.height <= frame.height + 0.5;
      if (!inside) complain("outside of the drawing", `${drawing.getAttribute("class")} ${text}`);
    }
    boxes.forEach((one, place) => {
      for (const other of boxes.slice(place + 1)) {
        const [a, b] = [one.box, other.box];
        const apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y + 1 || b.y + b.height <= a.y + 1;
        if (!apart) complain("a text on another", `${drawing.getAttribute("class")} ${one.text} / ${other.text}`);
      }
    });
  }
  for (const figure of document.querySelectorAll("figure")) {
    const visible = [...figure.querySelectorAll("svg")].filter(shown).length;
    if (visible !== 1) complain("not one drawing of a figure is shown", visible);
  }

  // The document.
  if (root.lang !== "en") complain("no language", root.lang);
  const headings = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(heading => +heading.tagName[1]);
  const ordered = headings.every((level, place) => level <= (headings[place - 1] ?? 0) + 1);
  if (!ordered || headings.filter(level => level === 1).length !== 1) complain("headings out of order", headings);
  const active = document.querySelectorAll("script, a, iframe, object, embed, img, form, link:not([href^='data:'])");
  active.forEach(element => complain("what a report does without", describe(element)));
  for (const element of document.querySelectorAll("*")) {
    const handler = element.getAttributeNames().find(name => name.startsWith("on"));
    if (handler) complain("a handler", `${handler} ${describe(element)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
  if (new Set(ids).size !== ids.length) complain("an id twice", ids);
  for (const box of document.querySelectorAll(".scroll")) {
    if (box.tabIndex !== 0 || !box.getAttribute("aria-label")) complain("a scrolling box for the mouse only", describe(box));
  }
  return problems;
})()
