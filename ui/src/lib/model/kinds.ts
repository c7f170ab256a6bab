/** Kinds of files, by what their names end in. */

/** A kind that can be chosen by its name. */
export interface Kind {
  name: string;
  /** As people read it. */
  says: string;
  /** Without the dot; none means any. */
  endings: readonly string[];
}

const PICTURES = ['jpg', 'jpeg', 'png', 'gif', 'webp', 'heic', 'avif', 'tif', 'tiff', 'bmp'];
const DOCUMENTS = ['pdf', 'txt', 'md', 'odt', 'ods', 'odp', 'docx', 'xlsx', 'pptx', 'csv', 'epub'];
const SOUND = ['mp3', 'flac', 'ogg', 'opus', 'm4a', 'wav'];
const FILM = ['mp4', 'mkv', 'webm', 'mov', 'avi'];

/** None of them holds what could run as a program. */
export const KINDS: readonly Kind[] = [
  { name: 'any', says: 'Any', endings: [] },
  { name: 'pictures', says: 'Pictures', endings: PICTURES },
  { name: 'documents', says: 'Documents', endings: DOCUMENTS },
  { name: 'media', says: 'Pictures, sound and film', endings: [...PICTURES, ...SOUND, ...FILM] },
];

/** The kind that these endings are; `undefined` where the user listed their own. */
export function kindOf(endings: readonly string[]): string | undefined {
  const all = [...endings].sort().join(' ');
  return KINDS.find((k) => [...k.endings].sort().join(' ') === all)?.name;
}

/** Endings as people list them: `jpg, *.PNG` are `jpg` and `png`. */
export function endings(typed: string): string[] {
  const all = typed.toLowerCase().split(/[\s,;]+/);
  return [...new Set(all.map((e) => e.replace(/^[*.]+/, '')).filter(Boolean))];
}
