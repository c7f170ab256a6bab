/** What the window needs of what it runs in: the app's shell, or the fake host. */

import type { ApiError, Commands, Push } from './generated/api';

/** The name of a command. */
export type CommandName = keyof Commands;

/** The way to the engine. */
export interface Host {
  /** Calls a command. Rejects with a {@link Refusal}. */
  call<N extends CommandName>(
    name: N,
    request: Commands[N]['request'],
  ): Promise<Commands[N]['reply']>;
  /** From now on `listen` hears everything, in order. Only the last one attached hears. */
  attach(listen: (push: Push) => void): Promise<void>;
}

/** A command was refused, and changed nothing. */
export class Refusal extends Error {
  /** For programs. */
  readonly code: ApiError['code'];

  constructor(error: ApiError) {
    super(error.message);
    this.name = 'Refusal';
    this.code = error.code;
  }

  /** Makes one of whatever was thrown. */
  static from(thrown: unknown): Refusal {
    if (thrown instanceof Refusal) return thrown;
    if (isApiError(thrown)) return new Refusal(thrown);
    const detail = thrown instanceof Error ? thrown.message : String(thrown);
    return new Refusal({
      code: 'unknown',
      message: `Kith did not answer (${detail}). Close the window and open it again.`,
    });
  }
}

function isApiError(value: unknown): value is ApiError {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as ApiError).code === 'string' &&
    typeof (value as ApiError).message === 'string'
  );
}
