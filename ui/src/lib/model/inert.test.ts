import { describe, expect, it } from 'vitest';
import { LONG_MESSAGE, beginning, message, name } from './inert';

describe('what strangers wrote', () => {
  it('cannot steer a terminal, reorder or hide text', () => {
    expect(name('a\u001b[31mb')).toBe('a␛[31mb');
    expect(name('photo\u202egpj.exe')).toBe('photo‹U+202E›gpj.exe');
    expect(name('in\nvoice\u200b.pdf')).toBe('in␊voice‹U+200B›.pdf');
    expect(message('x\u2066y\u202e\u0007')).toBe('x‹U+2066›y‹U+202E›␇');
    expect(name('\u{e0041}')).toBe('‹U+E0041›');
  });

  it('keeps what honest messages hold', () => {
    const text = 'two\nlines\tand 👩‍👧 and می‌خواهم and \u200fשלום';
    expect(message(text)).toBe(text);
    expect(message('a\r\nb\rc\u2028d')).toBe('a\nb\nc\nd');
  });

  it('keeps the ending of a long name', () => {
    const shown = name(`${'a'.repeat(10_000)}.exe`);
    expect([...shown].length).toBeLessThanOrEqual(80);
    expect(shown.endsWith('.exe')).toBe(true);
    expect(shown).toContain('…');
  });

  it('is never cut within a character', () => {
    expect([...beginning('🦦'.repeat(LONG_MESSAGE + 5))]).toHaveLength(LONG_MESSAGE);
    expect(name('🦦'.repeat(500))).not.toMatch(/[\ud800-\udbff](?![\udc00-\udfff])/);
  });
});
