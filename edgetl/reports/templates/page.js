'use strict';
// Adds to a page that is complete without it: values under the pointer, zoom, and the photos of one class.
// Text goes into the page as text only (textContent), never as HTML.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const made = (tag, name, text = '') => Object.assign(document.createElement(tag), { className: name, textContent: text });
  const numbers = (text) => (text ? text.split(' ').map(Number) : []);
  const short = (value) => (Number.isInteger(value) ? `${value}` : `${+value.toPrecision(4)}`);

  const button = (name, act) => {
    const one = Object.assign(made('button', '', name), { type: 'button' });
    one.addEventListener('click', act);
    return one;
  };

  // Values under the pointer
  const tip = document.body.appendChild(made('div', 'tip'));
  const guide = made('span', 'guide');
  tip.hidden = true;
  for (const one of all('figure [title], .matrix [title]')) {
    one.dataset.tip = one.title;
    one.setAttribute('aria-label', one.title);
    one.removeAttribute('title');
  }
  const percentAt = (box, event) => {
    const { left, width } = box.getBoundingClientRect();
    return Math.min(100, Math.max(0, (100 * (event.clientX - left)) / width));
  };
  const hide = () => { tip.hidden = true; guide.remove(); };
  const show = (text, event) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect(), edge = document.documentElement.clientWidth;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, edge - width - 4))}px`;
    tip.style.top = `${event.clientY > height + 18 ? event.clientY - height - 12 : event.clientY + 18}px`;
  };
  const point = (box, percent) => {
    guide.style.left = `${percent}%`;
    box.append(guide);
  };
  const vertices = new Map();
  const traceText = (box, percent) => {
    const [x0, x1] = numbers(box.dataset.x), [y0, y1] = numbers(box.dataset.y), lines = [];
    let place = percent;
    for (const path of all('path[data-name]', box)) {
      if (!vertices.has(path)) {
        vertices.set(path, path.getAttribute('d').slice(1).split(' L').map((one) => one.split(',').map(Number)));
      }
      const near = (best, one) => (Math.abs(one[0] - percent) < Math.abs(best[0] - percent) ? one : best);
      const [x, y] = vertices.get(path).reduce(near);
      place = x;
      lines.push(`${path.dataset.name} ${short(y1 - (y / 100) * (y1 - y0))} ${box.dataset.unit}`.trim());
    }
    point(box, place);
    const name = box.dataset.xName, at = short(+(x0 + (place / 100) * (x1 - x0)).toFixed(2));
    return [/^[%s]/.test(name) ? `at ${at} ${name}` : `${name} ${at}`, ...lines].join('\n');
  };

  // The distribution of latencies: zoom, and how many samples are at or below a value
  const FINE = 4000, DRAWN = 200;
  const ticksOf = (low, high, log) => {
    const inside = (values) => values.filter((one) => one > low && one < high);
    if (log) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
        found.push(...[1, 2, 5].map((nice) => nice * 10 ** power));
      }
      if (inside(found).length > 2) return inside(found);
    }
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((nice) => nice * power).find((one) => one >= 0.8 * rough);
    const first = Math.ceil(low / step), count = Math.floor(high / step) - first + 1;
    return inside(Array.from({ length: Math.max(0, count) }, (_, index) => +((first + index) * step).toPrecision(12)));
  };
  for (const figure of all('figure.zoom')) {
    const log = 'log' in figure.dataset, low = Number(figure.dataset.low), high = Number(figure.dataset.high);
    const valueAt = (percent) => (log ? low * (high / low) ** (percent / 100) : low + ((high - low) * percent) / 100);
    const percentOf = (value) => 100 * (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
    const boxes = all('.box', figure), axis = figure.querySelector('.axis'), texts = [...axis.children];
    const whole = new Map(boxes.map((box) => [box, [box.querySelector('.shape').getAttribute('d'), all('.tick', box)]]));
    let from = 0, to = 100;
    const counts = new Map(boxes.map((box) => {
      const found = new Float64Array(FINE), pairs = numbers(box.dataset.counts);
      for (let index = 0; index < pairs.length; index += 2) found[pairs[index]] = pairs[index + 1];
      return [box, found];
    }));
    const place = (percent) => (100 * (percent - from)) / (to - from);
    const outline = (fine) => {
      const bins = new Float64Array(DRAWN), width = ((to - from) / 100) * FINE;
      for (let index = 0; index < DRAWN; index += 1) {
        const start = Math.round((from / 100) * FINE + (index * width) / DRAWN);
        const end = Math.round((from / 100) * FINE + ((index + 1) * width) / DRAWN);
        for (let bin = start; bin < end; bin += 1) bins[index] += fine[bin];
      }
      const smooth = bins.map((_, index) => {
        let sum = 0;
        for (let by = -6; by <= 6; by += 1) sum += (bins[index + by] || 0) * Math.exp(-0.5 * (by / 2) ** 2);
        return sum;
      });
      const most = Math.max(...smooth) || 1;
      const line = [...smooth].map((one, index) => `L${((index + 0.5) * 100) / DRAWN},${(100 - (96 * one) / most).toFixed(1)}`);
      return `M0,100 ${line.join(' ')} L100,100 Z`;
    };
    const draw = () => {
      const unzoomed = from === 0 && to === 100, values = ticksOf(valueAt(from), valueAt(to), log);
      const placed = (tag, name, value, text = '') => {
        const one = made(tag, name, text);
        one.style.left = `${place(percentOf(value))}%`;
        return one;
      };
      for (const box of boxes) {
        const [path, ticks] = whole.get(box);
        box.querySelector('.shape').setAttribute('d', unzoomed ? path : outline(counts.get(box)));
        for (const mark of all('.mark', box)) {
          const at = place(Number(mark.dataset.at));
          mark.style.left = `${at}%`;
          mark.hidden = at < 0 || at > 100;
        }
        for (const tick of all('.tick', box)) tick.remove();
        box.prepend(...(unzoomed ? ticks : values.map((value) => placed('span', 'tick', value))));
      }
      axis.replaceChildren(...(unzoomed ? texts : values.map(
        (value) => placed('span', place(percentOf(value)) > 90 ? 'last' : '', value, `${+value.toPrecision(6)}`),
      )));
      let end = -Infinity;
      for (const text of [...axis.children]) {
        const { left, right } = text.getBoundingClientRect();
        if (left < end + 8) text.remove(); else end = right;
      }
      closer.disabled = to - from <= 5;
      for (const button of wider) button.disabled = unzoomed;
    };
    const zoom = (start, end) => {
      const width = Math.min(100, Math.max(5, end - start));
      from = Math.min(100 - width, Math.max(0, (start + end - width) / 2));
      to = from + width;
      draw();
    };
    // Around the median of the first run that is in view.
    const middle = () => all('.mark.p50', figure).map((one) => Number(one.dataset.at)).find((at) => at > from && at < to) ?? (from + to) / 2;
    const actions = [
      ['Zoom in', () => { const at = middle(), half = (to - from) / 4; zoom(at - half, at + half); }],
      ['Zoom out', () => { const width = to - from; zoom(from - width / 2, to + width / 2); }],
      ['Left', () => zoom(from - (to - from) / 2, to - (to - from) / 2)],
      ['Right', () => zoom(from + (to - from) / 2, to + (to - from) / 2)],
      ['Whole axis', () => zoom(0, 100)],
    ];
    const tools = made('div', 'tools');
    const [closer, ...wider] = actions.map(([name, act]) => button(name, act));
    tools.append(closer, ...wider, made('span', 'sub', 'or drag over the chart'));
    figure.querySelector('.chart').before(tools);
    draw();

    let start = null;
    const chosen = made('span', 'chosen-range');
    for (const box of boxes) {
      box.textAt = (percent) => {
        const at = from + ((to - from) * percent) / 100, fine = counts.get(box);
        let below = Number(box.dataset.below);
        for (let bin = 0; bin < Math.min(FINE, Math.round((at / 100) * FINE)); bin += 1) below += fine[bin];
        const total = Number(box.dataset.total);
        return `${short(valueAt(at))} ms\n${((100 * below) / total).toFixed(1)}% of ${total.toLocaleString('en')} samples are below`;
      };
      box.addEventListener('pointerdown', (event) => {
        if (event.button) return;
        start = percentAt(box, event);
        if (box.setPointerCapture && event.isTrusted) box.setPointerCapture(event.pointerId);
      });
      box.addEventListener('pointermove', (event) => {
        if (start === null) return;
        const end = percentAt(box, event);
        chosen.style.left = `${Math.min(start, end)}%`;
        chosen.style.width = `${Math.abs(end - start)}%`;
        box.append(chosen);
      });
      box.addEventListener('pointercancel', () => { start = null; chosen.remove(); });
      box.addEventListener('pointerup', (event) => {
        const end = percentAt(box, event), begin = start;
        start = null;
        chosen.remove();
        if (begin === null || Math.abs(end - begin) < 1) return;
        const ofAll = (percent) => from + ((to - from) * percent) / 100;
        zoom(ofAll(Math.min(begin, end)), ofAll(Math.max(begin, end)));
      });
    }
  }

  const over = (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const named = target && target.closest('[data-tip]'), box = target && target.closest('[data-x], figure.zoom .box');
    if (named) { guide.remove(); show(named.dataset.tip, event); return; }
    if (!box) { hide(); return; }
    const percent = percentAt(box, event);
    if (box.textAt) { point(box, percent); show(box.textAt(percent), event); } else show(traceText(box, percent), event);
  };
  document.addEventListener('pointermove', over);
  document.addEventListener('pointerdown', over);
  document.addEventListener('pointerleave', hide);
  document.addEventListener('scroll', hide, { passive: true });

  // A class: its row shows which photos and cells are its own
  for (const row of all('tr[data-class][data-of]')) {
    const section = all('[data-cards]').find((one) => one.dataset.cards === row.dataset.of);
    const cards = section ? all('.card[data-class]', section) : [], cells = all('.matrix tr[data-class]');
    const own = (one) => one.dataset.class === row.dataset.class;
    const label = row.cells[0].textContent;
    const choose = (on) => {
      for (const one of all('tr[data-of] .label')) one.setAttribute('aria-pressed', String(on && one === named));
      for (const one of cards) one.classList.toggle('faded', on && !own(one));
      for (const one of cells) one.classList.toggle('chosen', on && own(one));
      for (const one of all('.chosen-class')) one.remove();
      if (!on || !section) return;
      const line = made('p', 'chosen-class', `${label}: ${cards.filter(own).length} of the ${cards.length} photos below. `);
      line.append(button('All classes', () => choose(false)));
      section.querySelector('h2').after(line);
    };
    const named = button(label, () => choose(named.getAttribute('aria-pressed') !== 'true'));
    named.className = 'label';
    named.setAttribute('aria-pressed', 'false');
    row.cells[0].replaceChildren(named);
    const mark = (on) => {
      for (const one of [...cards, ...cells]) one.classList.toggle('marked', on && own(one));
    };
    row.addEventListener('pointerenter', () => mark(true));
    row.addEventListener('pointerleave', () => mark(false));
  }
})();
