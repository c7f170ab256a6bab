import { describe, expect, it } from 'vitest';
import * as amount from './amount';

describe('an amount', () => {
  it('is read as people type it', () => {
    for (const [typed, bytes] of [
      ['5', 5e6],
      [' 2.5 ', 2.5e6],
      ['2,5', 2.5e6],
      ['.5', 0.5e6],
      ['3.', 3e6],
      ['0.002', 2000],
    ] as const) {
      expect(amount.parse(typed, 1e6), typed).toBe(bytes);
    }
  });

  it('is nothing where it means nothing, or stops all', () => {
    for (const typed of [
      '',
      ' ',
      '.',
      '0',
      '-1',
      '1e9',
      '5 MB',
      '1.2.3',
      '0.0001',
      '9'.repeat(40),
    ]) {
      expect(amount.parse(typed, 1e6), typed).toBeUndefined();
    }
  });

  it('stands in its field as it was typed', () => {
    for (const typed of ['5', '2.5', '0.002', '1234.567']) {
      const bytes = amount.parse(typed, 1e6) ?? 0;
      expect(amount.typed(bytes, 1e6)).toBe(typed);
    }
  });
});
