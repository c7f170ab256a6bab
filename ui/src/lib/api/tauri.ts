/**
 * The seam to the desktop shell, and the only file that knows Tauri. The shell provides exactly
 * three Tauri commands:
 *
 * `call({ command: string, request: object }) -> reply`, rejects with `ApiError`
 *     `command` is one of `kith_api::COMMANDS` (answered by `kith_api::dispatch` on the node) or
 *     `kith_api::SHELL_COMMANDS` (answered by `kith_api::dispatch_shell` on the shell):
 *     `host_room`, `settings`, `set_settings`, `pick_files`, `pick_folder`, `open`,
 *     `show_in_folder`, `leftovers`, `remove_leftovers`. Requests and replies are in `generated/api.ts`, `Commands`. A path in a
 *     request must be one that the shell told this page of.
 *
 * `attach({ channel: Channel<Push> }) -> null`
 *     The event pump. The shell subscribes to the node before it replies, then sends each of
 *     `Subscription::changes()` as `Push::Changes`, the next one after `drawn`. A later
 *     `attach` (the page was loaded again) replaces the earlier one. On the same channel go:
 *     - `Push::Invite`: a `kith://` link that opened the app. One that came before `attach` is
 *       kept and sent right after it.
 *     - `Push::Drag`: files over the window, from the window's drag and drop events, with the
 *       position divided by the scale factor. Paths are given with `dropped` only.
 *
 * `drawn() -> null`
 *     The changes that came last are on the screen. Without it they come once a second.
 *
 * After `attach` the page calls `snapshot`; whatever it hears in between it keeps.
 */

import { Channel, invoke } from '@tauri-apps/api/core';
import type { Commands, Push } from './generated/api';
import { type CommandName, type Host, Refusal } from './host';

/** Milliseconds after which a page that is not drawn, being hidden, counts as drawn. */
const HIDDEN = 250;

/** When what has changed is on the screen. */
const drawn = () =>
  new Promise<void>((done) => {
    requestAnimationFrame(() => setTimeout(done, 0));
    setTimeout(done, HIDDEN);
  });

/** The host inside the desktop app. */
export class TauriHost implements Host {
  async call<N extends CommandName>(
    command: N,
    request: Commands[N]['request'],
  ): Promise<Commands[N]['reply']> {
    try {
      return await invoke<Commands[N]['reply']>('call', { command, request });
    } catch (thrown) {
      throw Refusal.from(thrown);
    }
  }

  async attach(listen: (push: Push) => void): Promise<void> {
    const channel = new Channel<Push>();
    channel.onmessage = (push) => {
      listen(push);
      // Without an answer the shell goes on by itself.
      if (push.type === 'changes') void drawn().then(() => invoke('drawn').catch(() => undefined));
    };
    try {
      await invoke('attach', { channel });
    } catch (thrown) {
      throw Refusal.from(thrown);
    }
  }
}
