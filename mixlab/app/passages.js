// Draws text that nobody vouches for: every piece of it is set as textContent, so nothing in it can become markup.
function element(tag, className, text) {
  const made = document.createElement(tag)
  if (className) made.className = className
  if (text !== undefined) made.textContent = text
  return made
}

function line(told) {
  const row = element("div", told.gone ? "line gone" : "line")
  row.append(element("span", "n", told.n === null ? "" : String(told.n)))
  const text = element("span", "text")
  for (const [said, kind] of told.parts) {
    const piece = element(kind ? "mark" : "span", kind, said)
    if (told.title && kind) piece.title = told.title
    text.append(piece)
  }
  row.append(text)
  row.append(element("span", "note", told.note))
  return row
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector("#root")
  if (!root || !data) return
  root.setAttribute("aria-label", data.label)
  root.replaceChildren(...data.lines.map(line))
}
