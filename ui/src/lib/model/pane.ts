/** Which of many lines are in the page: a window that moves, so that a long room stays quick. */

/** Lines in the page at most. */
export const MOST_SHOWN = 240;
/** Lines by which the window moves. */
const STEP = 80;

/** A window on `length` lines. It sticks to the end until it is moved away from it. */
export class Pane {
  start = 0;
  end = 0;
  #length = 0;

  /** There are so many lines now. `before`: how many of the new ones stand in front. */
  resize(length: number, before = 0): void {
    const stuck = this.atEnd;
    this.#length = length;
    if (stuck && before === 0) {
      this.toEnd();
      return;
    }
    this.start = Math.min(this.start + before, length);
    this.end = Math.min(Math.max(this.end + before, this.start), length);
    if (this.end - this.start < Math.min(STEP, length)) this.toEnd();
  }

  /** Whether the last line is in the window. */
  get atEnd(): boolean {
    return this.end >= this.#length;
  }

  /** Whether lines before the window are loaded. */
  get hasOlder(): boolean {
    return this.start > 0;
  }

  /** Shows older lines; the newest leave where there are too many. */
  older(): void {
    this.start = Math.max(0, this.start - STEP);
    this.end = Math.min(this.end, this.start + MOST_SHOWN);
  }

  /** Shows newer lines; the oldest leave where there are too many. */
  newer(): void {
    this.end = Math.min(this.#length, this.end + STEP);
    this.start = Math.max(this.start, this.end - MOST_SHOWN);
  }

  /** Goes to the last line. */
  toEnd(): void {
    this.end = this.#length;
    this.start = Math.max(0, this.end - STEP * 2);
  }

  /** Makes sure that a line is in the window. */
  show(index: number): void {
    if (index >= this.start && index < this.end) return;
    this.start = Math.max(0, index - STEP);
    this.end = Math.min(this.#length, this.start + STEP * 2);
  }
}
