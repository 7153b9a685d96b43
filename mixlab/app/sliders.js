// Weight sliders that always sum to `units`. mixlab/app/sliders.py explains the contract; names are text, never HTML.

// The weights after weights[i] = value: integers, sum stays `units`; the unlocked others share the rest in proportion,
// largest remainder first, ties to the lower index. The same arithmetic as mixlab.mix.simplex.redistribute (a test holds them together).
export function redistribute(weights, locked, i, value, units) {
  const free = weights.map((_, j) => j).filter((j) => j !== i && !locked[j])
  const fixed = weights.reduce((sum, w, j) => sum + (j !== i && locked[j] ? w : 0), 0)
  const set = free.length ? Math.max(0, Math.min(value, units - fixed)) : units - fixed
  const rest = units - fixed - set
  const total = free.reduce((sum, j) => sum + weights[j], 0)
  const parts = free.map((j) => (total ? weights[j] : 1) * rest)
  const whole = total || free.length
  const got = parts.map((x) => Math.floor(x / whole))
  const left = rest - got.reduce((sum, x) => sum + x, 0)
  parts
    .map((x, k) => [x % whole, k])
    .sort((a, b) => b[0] - a[0] || a[1] - b[1])
    .slice(0, left)
    .forEach(([, k]) => got[k]++)
  const out = [...weights]
  out[i] = set
  free.forEach((j, k) => { out[j] = got[k] })
  return out
}

const SEND_AFTER_MS = 150 // one rerun per burst of key presses; sending each made the page lag by seconds

export default function (component) {
  const { data, parentElement, setStateValue } = component
  const root = parentElement.querySelector("#root")
  root._data = data
  root._emit = () => {
    clearTimeout(root._timer)
    root._timer = 0
    setStateValue("mix", { rev: root._data.rev, weights: [...root._weights], locked: [...root._locked] })
  }
  const shown = JSON.stringify([data.rev, data.rows.map((row) => row.name)])
  if (root._shown !== shown) { // first mount, or Python raised rev: take Python's values
    root._shown = shown
    root._weights = [...data.weights]
    root._locked = [...data.locked]
    root._start = [...data.weights]
    root.replaceChildren(...data.rows.map((row, i) => makeRow(root, row, i)))
  }
  paint(root)
  return () => clearTimeout(root._timer)
}

function makeRow(root, row, i) {
  const make = (tag, props, ...children) => {
    const node = Object.assign(document.createElement(tag), props)
    node.append(...children)
    return node
  }
  const swatch = make("span", { className: "swatch" })
  swatch.style.background = row.colour
  const label = make("label", { htmlFor: "slider" + i, className: "name", title: row.name }, swatch, row.name)
  const range = make("input", { id: "slider" + i, type: "range", min: 0, max: root._data.units, step: 1 })
  const number = make("input", { type: "number", min: 0, max: 100, step: 0.1, className: "percent" })
  number.setAttribute("aria-label", row.name + ", percent")
  const lock = make("input", { type: "checkbox" })
  lock.setAttribute("aria-label", "Lock " + row.name)

  const begin = () => { root._start = [...root._weights] } // a gesture: dragging to 100 % and back loses nothing
  const later = () => { clearTimeout(root._timer); root._timer = setTimeout(() => root._emit(), SEND_AFTER_MS) }
  const now = () => { if (root._timer) root._emit() } // a click on Save blurs first: nothing is lost
  const set = (units) => {
    root._weights = redistribute(root._start, root._locked, i, units, root._data.units)
    paint(root)
  }
  range.onfocus = range.onpointerdown = number.onfocus = begin
  range.oninput = () => { set(+range.value); later() }
  range.onblur = now
  number.onchange = () => {
    set(Math.round((Number(number.value) || 0) * root._data.units / 100))
    number.value = percent(root, i)
    root._emit()
  }
  lock.onchange = () => { root._locked[i] = lock.checked; begin(); paint(root); root._emit() }
  return make(
    "div", { className: "row" },
    label, range,
    make("span", { className: "value" }, number, " %"),
    make("label", { className: "lock" }, lock, " lock"),
    make("span", { className: "note" }),
  )
}

function percent(root, i) {
  return (100 * root._weights[i] / root._data.units).toFixed(1)
}

function paint(root) {
  root.querySelectorAll(".row").forEach((row, i) => {
    const [range, number, lock] = row.querySelectorAll("input")
    range.value = root._weights[i]
    range.disabled = number.disabled = lock.checked = root._locked[i]
    range.setAttribute("aria-valuetext", percent(root, i) + " percent")
    if (!number.matches(":focus")) number.value = percent(root, i)
    const note = row.querySelector(".note")
    note.textContent = root._data.rows[i].note
    note.className = "note " + root._data.rows[i].level
  })
}
