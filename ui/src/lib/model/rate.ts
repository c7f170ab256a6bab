/** How fast a transfer is and how long it will take, from what is done when. */

/** Milliseconds that a rate looks back. */
const LOOK_BACK = 5000;
/** Milliseconds between two points that are kept. */
const APART = 200;
/** Milliseconds before a rate says anything. */
const TOO_SHORT = 400;

/** One transfer's rate. */
export class RateMeter {
  #points: { at: number; done: number }[] = [];

  /** So much is done at this moment (milliseconds of any steady clock). */
  feed(done: number, at: number): void {
    const last = this.#points.at(-1);
    // It was begun anew, or the clock was: what was before says nothing.
    if (last && (done < last.done || at < last.at)) this.#points = [];
    const before = this.#points.at(-2);
    if (last && before && last.at - before.at < APART) this.#points.pop();
    this.#points.push({ at, done });
    while (this.#points.length > 2 && (this.#points[1]?.at ?? at) <= at - LOOK_BACK) {
      this.#points.shift();
    }
  }

  /** Bytes per second, or `null` while it cannot be told. */
  rate(): number | null {
    const [first, last] = [this.#points[0], this.#points.at(-1)];
    if (!first || !last || last.at - first.at < TOO_SHORT) return null;
    return ((last.done - first.done) * 1000) / (last.at - first.at);
  }

  /** Seconds until `total` is done, or `null` while it cannot be told. */
  eta(total: number): number | null {
    const [rate, last] = [this.rate(), this.#points.at(-1)];
    if (!rate || !last) return null;
    return Math.max(0, total - last.done) / rate;
  }
}

/** The meters of all transfers that run. */
export class Rates {
  readonly #meters = new Map<string, RateMeter>();

  /** A transfer has come so far; one that does not run has no rate. */
  feed(key: string, runs: boolean, done: number, at: number): void {
    if (!runs) {
      this.#meters.delete(key);
      return;
    }
    let meter = this.#meters.get(key);
    if (!meter) this.#meters.set(key, (meter = new RateMeter()));
    meter.feed(done, at);
  }

  /** The meter of a transfer that runs. */
  of(key: string): RateMeter | undefined {
    return this.#meters.get(key);
  }
}
