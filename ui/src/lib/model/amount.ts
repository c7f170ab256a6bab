/** Speeds and sizes as people type them. */

/** Least that is taken: as little as the engine lets a transfer have. */
const LEAST = 1024;
/** Most that is taken: nothing is faster, and the engine counts in whole bytes. */
const MOST = 1e15;

/**
 * Bytes of a typed number of units (`per` bytes each), with a point or a comma; `undefined` where it
 * is none, or too small to mean anything.
 */
export function parse(typed: string, per: number): number | undefined {
  const text = typed.trim().replace(',', '.');
  if (!/^\d*\.?\d+$|^\d+\.$/.test(text)) return undefined;
  const bytes = Math.round(Number(text) * per);
  return bytes >= LEAST && bytes <= MOST ? bytes : undefined;
}

/** The number of units that these bytes are, as one would type it. */
export const typed = (bytes: number, per: number) => String(Number((bytes / per).toFixed(3)));
