import { describe, expect, it } from 'vitest';
import type { FetchPhase, OfferView, Paused, ReceiverView, ServePhase } from '../api/generated/api';
import { RateMeter } from './rate';
import { fetchStanding, numbers, serveStanding, strategyWord, sumWord } from './standing';

const nobody: Paused = { here: false, there: false };
const fetch = (phase: FetchPhase, more: Partial<OfferView> = {}) =>
  fetchStanding({ phase, paused: nobody, ...more }, 'Ada');
const serve = (phase: ServePhase, more: Partial<ReceiverView> = {}) =>
  serveStanding({ phase, paused: nobody, ...more }, 'Bob');

describe('a transfer', () => {
  it('says who holds it back', () => {
    const held = (here: boolean, there: boolean) =>
      fetch('paused', { paused: { here, there } }).word;
    expect(held(true, false)).toBe('You paused it');
    expect(held(false, true)).toBe('Ada paused it');
    expect(held(true, true)).toBe('You and Ada paused it');
    const paused = { here: false, there: true };
    expect(serve('paused', { paused }).word).toBe('Bob paused it');
  });

  it('says how files come to several people', () => {
    const bob = { phase: 'serving', paused: nobody } as ReceiverView;
    const ours = (strategy: OfferView['strategy'], receivers: ReceiverView[]) =>
      strategyWord({ mine: true, receivers, ...(strategy && { strategy }) });
    expect(ours('swarm', [bob, bob])).toBe('receivers help each other');
    expect(ours('parallel', [bob, bob])).toBe('to all at once');
    expect(ours('sequential', [bob, bob])).toBe('one after the other');
    expect(ours('parallel', [bob])).toBeNull();
    expect(ours(undefined, [bob, bob])).toBeNull();
    const theirs = { mine: false, receivers: [] };
    expect(strategyWord({ ...theirs, strategy: 'swarm' })).toBe('from several people at once');
    expect(strategyWord(theirs)).toBeNull();
  });

  it('says for which turn it waits', () => {
    expect(fetch('queued', { queued: 1 }).word).toBe('Waits for its turn, next');
    expect(fetch('queued', { queued: 2 }).word).toBe('Waits for its turn, 2nd');
    expect(fetch('queued').word).toBe('Waits for its turn');
  });

  it('says what the disk lacks, and that it goes on by itself', () => {
    const full = fetch('blocked', { why: 'disk-full', missing: 12.4e9 });
    expect(full.word).toContain('The disk is full.');
    expect(full.next).toBe('12 GB more are needed; it goes on by itself then.');
    expect(full.tone).toBe('warn');
    const whys = ['disk-full', 'disk-quota', 'disk-denied', 'disk-read-only', 'disk-gone'] as const;
    for (const why of [...whys, 'disk-error', undefined] as const) {
      expect(fetch('blocked', { why }).next).toMatch(/by itself/);
      expect(serve('blocked', { why }).word).toMatch(/^Their .*goes on/);
    }
  });

  it('says why it failed', () => {
    expect(fetch('failed', { why: 'corrupt' })).toMatchObject({ tone: 'bad' });
    expect(fetch('failed', { why: 'corrupt' }).word).toContain('damaged');
    expect(fetch('failed').word).toBe('Failed');
    expect(serve('failed', { why: 'disk-full' }).word).toBe('Their disk is full');
    expect(serve('failed', { why: 'corrupt' }).word).toContain('damaged');
    expect(serve('failed').word).toBe('Failed');
  });

  it('tells how far, how fast and how long', () => {
    const meter = new RateMeter();
    meter.feed(0, 0);
    meter.feed(2e6, 1000);
    expect(numbers(2e6, 10e6, meter)).toEqual(['20\u00a0%', '2.0 MB/s', 'a few seconds left']);
    expect(numbers(1, 2)).toEqual(['50\u00a0%']);
  });

  it('to many is summed up in a line', () => {
    const receivers = (['done', 'serving', 'paused', 'blocked', 'failed', 'offered'] as const).map(
      (phase) => ({ phase, done: 0 }) as ReceiverView,
    );
    expect(sumWord({ receivers, total: 9 })).toBe('1 of 6 have it · 1 paused · 2 held up');
    expect(sumWord({ receivers: receivers.slice(0, 2), total: 9 })).toBe('1 of 2 have it');
  });
});
