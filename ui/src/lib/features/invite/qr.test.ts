import { encode } from 'uqr';
import { describe, expect, it } from 'vitest';
import { qrPath } from './qr';

/** Paints a path back into rows. */
function painted(path: string, size: number): boolean[][] {
  const rows = Array.from({ length: size }, () => Array<boolean>(size).fill(false));
  for (const [, x, y, width] of path.matchAll(/M(\d+) (\d+)h(\d+)v1h-\d+z/g)) {
    rows[Number(y)]?.fill(true, Number(x), Number(x) + Number(width));
  }
  return rows;
}

describe('the QR code of an invite', () => {
  it('paints each dark square of the code and no other', () => {
    const invite = `kith://192.168.1.20:7400/j#v1.${'x'.repeat(43)}.${'y'.repeat(22)}`;
    const { path, size } = qrPath(invite);
    const code = encode(invite, { ecc: 'L', border: 2 });
    expect(size).toBe(code.size);
    expect(painted(path, size)).toEqual(code.data.map((row) => row.map(Boolean)));
  });
});
