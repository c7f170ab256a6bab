import { describe, expect, it } from 'vitest';
import { KINDS, endings, kindOf } from './kinds';

describe('kinds of files', () => {
  it('are found again by their endings, in any order', () => {
    for (const { name, endings } of KINDS) {
      expect(kindOf([...endings].reverse())).toBe(name);
    }
    expect(kindOf(['jpg'])).toBeUndefined();
  });

  it('hold nothing that could run as a program', () => {
    const all = KINDS.flatMap((k) => k.endings);
    for (const bad of ['exe', 'sh', 'js', 'html', 'svg', 'jar', 'bat', 'desktop', 'docm']) {
      expect(all).not.toContain(bad);
    }
  });

  it('of the user are read as they are listed', () => {
    expect(endings(' *.JPG, png;.pdf  tar.gz,,jpg')).toEqual(['jpg', 'png', 'pdf', 'tar.gz']);
    expect(endings(' ., ')).toEqual([]);
  });
});
