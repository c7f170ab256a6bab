import { describe, expect, it } from 'vitest';
import { MOST_SHOWN, Pane } from './pane';

describe('a pane on many lines', () => {
  it('begins at the end and stays there', () => {
    const pane = new Pane();
    pane.resize(10_000);
    expect(pane.end).toBe(10_000);
    expect(pane.end - pane.start).toBeLessThanOrEqual(MOST_SHOWN);
    pane.resize(10_001);
    expect(pane.end).toBe(10_001);
  });

  it('reaches every line and never holds too many', () => {
    const pane = new Pane();
    pane.resize(10_000);
    for (let i = 0; i < 500 && pane.hasOlder; i++) {
      pane.older();
      expect(pane.end - pane.start).toBeLessThanOrEqual(MOST_SHOWN);
    }
    expect(pane.start).toBe(0);
    for (let i = 0; i < 500 && !pane.atEnd; i++) pane.newer();
    expect(pane.end).toBe(10_000);
    expect(pane.end - pane.start).toBeLessThanOrEqual(MOST_SHOWN);
  });

  it('stands still when lines come behind or in front of it', () => {
    const pane = new Pane();
    pane.resize(1000);
    pane.older();
    pane.older();
    const { start, end } = pane;
    pane.resize(1001);
    expect([pane.start, pane.end]).toEqual([start, end]);
    pane.resize(1101, 100);
    expect([pane.start, pane.end]).toEqual([start + 100, end + 100]);
  });

  it('shows all of a few and any one of many', () => {
    const pane = new Pane();
    pane.resize(3);
    expect([pane.start, pane.end, pane.hasOlder]).toEqual([0, 3, false]);
    pane.resize(5000);
    pane.show(12);
    expect(pane.start <= 12 && 12 < pane.end).toBe(true);
    expect(pane.atEnd).toBe(false);
    pane.resize(0);
    expect([pane.start, pane.end]).toEqual([0, 0]);
  });
});
