/**
 * What strangers wrote, made fit to show: it can neither reorder nor hide what stands around it.
 * Svelte escapes HTML; these characters are what is left.
 */

/** Controls, and formatting characters that reorder or hide text. */
const HIDDEN =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
/** The same without what honest messages hold: line ends, tabs, joiners and direction marks. */
const HIDDEN_IN_MESSAGES =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** Characters of a name that are shown at most. */
const LONGEST_NAME = 80;
/** Characters of a message that are shown before it is unfolded. */
export const LONG_MESSAGE = 2000;

/** A message: line ends stay. */
export function message(text: string): string {
  return text.replace(/\r\n?|[\u2028\u2029]/g, '\n').replace(HIDDEN_IN_MESSAGES, spelled);
}

/** The beginning of a long message, cut between characters. */
export function beginning(text: string): string {
  return [...text.slice(0, LONG_MESSAGE * 2)].slice(0, LONG_MESSAGE).join('');
}

/** A name for something: on one line, cut in the middle so that its ending stays. */
export function name(text: string): string {
  const all = [...text.slice(0, 4096).replace(HIDDEN, spelled)];
  if (text.length <= 4096 && all.length <= LONGEST_NAME) return all.join('');
  const tail = [...text.slice(-200).replace(HIDDEN, spelled)].slice(-(LONGEST_NAME / 2 - 1));
  return `${all.slice(0, LONGEST_NAME / 2).join('')}…${tail.join('')}`;
}

function spelled(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  // Controls have pictures of their own.
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return '\u2421';
  return `‹U+${code.toString(16).toUpperCase().padStart(4, '0')}›`;
}
