// Looks at pages in frames, as a reader would; for test_pages_in_browser.py.
const all = (page, selector) => [...page.querySelectorAll(selector)];

function report(see) {
  addEventListener('load', () => {
    const found = all(document, 'iframe').map((frame) => see(frame.contentWindow, frame));
    document.body.dataset.found = JSON.stringify(found);
  });
}

function whole(window, frame) {
  frame.height = window.document.documentElement.scrollHeight;
  return Number(frame.height);
}

function look(window) {
  const page = window.document, style = (one) => window.getComputedStyle(one);
  const touching = [];
  for (const axis of all(page, '.axis, .y-axis')) {
    const places = [...axis.children].map((one) => [one.textContent, one.getBoundingClientRect()]);
    places.forEach(([text, one], index) => places.slice(index + 1).forEach(([other, two]) => {
      const apart = one.right + 2 < two.left || two.right + 2 < one.left || one.bottom <= two.top || two.bottom <= one.top;
      if (!apart) touching.push(`${text} ${other}`);
    }));
  }
  const back = (one) => {
    const found = style(one).backgroundColor;
    return found === 'rgba(0, 0, 0, 0)' && one.parentElement ? back(one.parentElement) : found;
  };
  const size = (selector) => Math.max(0, ...all(page, selector).map((one) => parseFloat(style(one).fontSize)));
  return {
    wide: page.documentElement.scrollWidth,
    touching,
    dead_links: all(page, 'a[href^="#"]').map((one) => one.hash.slice(1)).filter((id) => !page.getElementById(id)),
    // Beyond the right edge; other tables scroll below their first column.
    cut: all(page, '.contents a, .stacked td').filter((one) => {
      const text = page.createRange();
      text.selectNodeContents(one);
      return text.getBoundingClientRect().right > window.innerWidth;
    }).map((one) => one.textContent),
    headlines: all(page, '.headline, .figures dd').map((one) => [one.textContent, style(one).color, back(one)]),
    largest_px: size('body *'),
    largest_doubtful_px: size('.doubtful *'),
  };
}

function use(window) {
  const page = window.document;
  const send = (target, kind, percent) => {
    const { left, top, width, height } = target.getBoundingClientRect();
    const place = { clientX: left + (width * percent) / 100, clientY: top + height / 2 };
    target.dispatchEvent(new window.PointerEvent(kind, { bubbles: true, pointerId: 1, ...place }));
  };
  const hover = (target, percent = 50) => {
    send(target, 'pointermove', percent);
    const tip = page.querySelector('.tip');
    return tip.hidden ? '' : tip.textContent;
  };
  const press = (name) => all(page, '.tools button').find((one) => one.textContent === name).click();
  const axis = () => all(page, '.zoom .axis span').map((one) => Number(one.textContent));
  const shape = () => page.querySelector('.zoom .shape').getAttribute('d');
  const box = page.querySelector('.zoom .box');
  const found = {
    distribution: [0, 20, 40, 60, 80, 100].map((percent) => hover(box, percent)),
    course: hover(page.querySelector('.courses .box')),
    dot: hover(page.querySelector('.dot')),
    bar: hover(page.querySelector('.bar .s-invoke')),
    axis: axis(),
    path: shape(),
  };
  press('Zoom in');
  Object.assign(found, { zoomed_axis: axis(), zoomed_path: shape() });
  press('Whole axis');
  send(box, 'pointerdown', 30);
  send(box, 'pointermove', 40);
  send(box, 'pointerup', 45);
  found.dragged_axis = axis();
  press('Whole axis');
  Object.assign(found, { whole_axis: axis(), whole_path: shape() });
  const faded = () => all(page, '.card.faded').length;
  const label = (name) => all(page, 'button.label').find((one) => one.textContent === name);
  found.cards = all(page, '.card').length;
  label('square').click();
  found.faded = { square: faded() };
  label('triangle').click();
  found.faded.triangle = faded();
  found.said = page.querySelector('.chosen-class').textContent;
  label('triangle').click();
  found.faded.again = faded();
  return found;
}
