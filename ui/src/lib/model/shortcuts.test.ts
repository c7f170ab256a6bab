import { describe, expect, it } from 'vitest';
import { SHORTCUTS, actionOf } from './shortcuts';

const press = (key: string, more: object = {}) =>
  actionOf({ key, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...more });

describe('the keys', () => {
  it('do what the list says', () => {
    expect(press('n', { ctrlKey: true })).toBe('new-room');
    expect(press('N', { metaKey: true })).toBe('new-room');
    expect(press('ArrowUp', { altKey: true })).toBe('previous-room');
    expect(press('F6')).toBe('next-area');
    expect(press('/', { ctrlKey: true, shiftKey: true })).toBe('shortcuts');
  });

  it('leave all else to where the focus is', () => {
    expect(press('n')).toBeNull();
    expect(press('n', { ctrlKey: true, shiftKey: true })).toBeNull();
    expect(press('Enter')).toBeNull();
    expect(press('ArrowUp')).toBeNull();
  });

  it('are each there once', () => {
    expect(new Set(SHORTCUTS.map((s) => s.keys)).size).toBe(SHORTCUTS.length);
  });
});
