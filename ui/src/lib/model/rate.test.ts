import { describe, expect, it } from 'vitest';
import { RateMeter, Rates } from './rate';

function fed(points: [number, number][]): RateMeter {
  const meter = new RateMeter();
  for (const [at, done] of points) meter.feed(done, at);
  return meter;
}

describe('a rate', () => {
  it('is not told from too little', () => {
    expect(fed([]).rate()).toBeNull();
    expect(fed([[0, 0]]).rate()).toBeNull();
    expect(
      fed([
        [0, 0],
        [100, 9e9],
      ]).rate(),
    ).toBeNull();
  });

  it('is bytes over time, and the rest takes as long', () => {
    const meter = fed([
      [0, 1000],
      [1000, 3000],
    ]);
    expect(meter.rate()).toBe(2000);
    expect(meter.eta(7000)).toBe(2);
    expect(meter.eta(1000), 'never negative').toBe(0);
  });

  it('forgets what is long ago', () => {
    const points: [number, number][] = [];
    for (let s = 0; s <= 20; s++) points.push([s * 1000, s * 1e6]);
    for (let s = 1; s <= 10; s++) points.push([20_000 + s * 1000, 20e6 + s * 1000]);
    expect(fed(points).rate()).toBe(1000);
  });

  it('has no end in sight when nothing moves', () => {
    const meter = fed([
      [0, 500],
      [1000, 500],
    ]);
    expect(meter.rate()).toBe(0);
    expect(meter.eta(1000)).toBeNull();
  });

  it('begins anew when the transfer does', () => {
    const meter = fed([
      [0, 9000],
      [1000, 10_000],
      [2000, 0],
    ]);
    expect(meter.rate()).toBeNull();
    meter.feed(4000, 3000);
    expect(meter.rate()).toBe(4000);
  });

  it('keeps few points however often it is fed', () => {
    const meter = new RateMeter();
    for (let at = 0; at <= 60_000; at += 5) meter.feed(at, at);
    expect(meter.rate()).toBeCloseTo(1000, 0);
  });

  it('is gone with its transfer', () => {
    const rates = new Rates();
    rates.feed('a', true, 0, 0);
    expect(rates.of('a')).toBeDefined();
    rates.feed('a', false, 0, 1);
    expect(rates.of('a')).toBeUndefined();
  });
});
