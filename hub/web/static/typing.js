// What somebody types is theirs. A part of the page that is rendered anew while they type, or while the answer to what
// they sent is on its way, takes what stands in its form over, and with it the caret: as long as the form is about the
// same call, which its `data-about` names. Over trouble that is shown in place of the form it is kept, and no longer.

const fields = (form) => [...form.elements].filter(({ id, type }) => id && type !== "hidden");
const formOf = (part) => part.querySelector("form[data-about]");
const kept = new Map(); // by part

// Whether something stands in the part's form that was not there when it came.
export function typedIn(part) {
  const form = formOf(part);
  return Boolean(form) && fields(form).some(({ value, defaultValue = "", type }) => type !== "submit" && value !== defaultValue);
}

// Keep what stands in a part that is about to be rendered anew.
export function keep(part) {
  const form = formOf(part);
  if (!form) return;
  const { activeElement: at } = document;
  const caret = form.contains(at) && "selectionStart" in at ? [at.id, at.selectionStart, at.selectionEnd] : null;
  kept.set(part, { about: form.dataset.about, values: fields(form).map(({ id, value }) => [id, value]), caret });
}

// Put it back.
export function retype(part) {
  const form = formOf(part);
  if (!form && part.querySelector("[data-trouble]")) return;
  const { about, values, caret } = kept.get(part) ?? {};
  kept.delete(part);
  if (!form || form.dataset.about !== about) return;
  const now = new Map(fields(form).map((field) => [field.id, field]));
  for (const [id, value] of values) if (now.has(id)) now.get(id).value = value;
  if (caret && document.activeElement.id === caret[0]) document.activeElement.setSelectionRange(caret[1], caret[2]);
}
