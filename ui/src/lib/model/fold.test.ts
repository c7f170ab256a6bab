import { describe, expect, it } from 'vitest';
import type { Changes, Snapshot } from '../api/generated/api';
import fixtures from '../api/generated/fold.json';
import { apply } from './fold';

interface Case {
  name: string;
  snapshot: Snapshot;
  changes: Changes;
  expected: Snapshot | null;
}

describe('the window folds changes as the engine does', () => {
  for (const { name, snapshot, changes, expected } of fixtures as unknown as Case[]) {
    it(name, () => {
      const before = structuredClone(snapshot);
      expect(apply(snapshot, changes)).toEqual(expected);
      expect(snapshot, 'the old snapshot stays as it was').toEqual(before);
    });
  }
});
