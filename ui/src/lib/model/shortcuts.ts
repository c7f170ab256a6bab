/** The keys of the window: one list, which is also what is shown. */

/** What a key does. */
export type Action =
  | 'new-room'
  | 'join'
  | 'invite'
  | 'offer'
  | 'people'
  | 'transfers'
  | 'settings'
  | 'shortcuts'
  | 'previous-room'
  | 'next-room'
  | 'next-area'
  | 'write';

/** One key, as people read it. */
export interface Shortcut {
  action: Action | null;
  keys: string;
  says: string;
}

/** All of them. Those without an action are done where the focus is. */
export const SHORTCUTS: readonly Shortcut[] = [
  { action: 'new-room', keys: 'Ctrl+N', says: 'New room' },
  { action: 'join', keys: 'Ctrl+J', says: 'Join with an invite' },
  { action: 'invite', keys: 'Ctrl+I', says: 'Invite people to the room' },
  { action: 'offer', keys: 'Ctrl+O', says: 'Offer files to the room' },
  { action: 'people', keys: 'Ctrl+P', says: 'Show or hide people and files' },
  { action: 'transfers', keys: 'Ctrl+T', says: 'Transfers of all rooms' },
  { action: 'previous-room', keys: 'Alt+↑', says: 'Previous room' },
  { action: 'next-room', keys: 'Alt+↓', says: 'Next room' },
  { action: 'next-area', keys: 'F6', says: 'Next part of the window' },
  { action: 'write', keys: 'Ctrl+M', says: 'Write a message' },
  { action: null, keys: 'Enter', says: 'Send the message' },
  { action: null, keys: 'Shift+Enter', says: 'New line in the message' },
  { action: 'settings', keys: 'Ctrl+,', says: 'Settings' },
  { action: 'shortcuts', keys: 'Ctrl+/', says: 'This list' },
  { action: null, keys: 'Esc', says: 'Close what is open' },
];

type Pressed = Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'shiftKey'>;

/** What the pressed keys mean. */
export function actionOf(event: Pressed): Action | null {
  const arrows: Record<string, string> = { ArrowUp: '↑', ArrowDown: '↓' };
  const key = arrows[event.key] ?? (event.key.length === 1 ? event.key.toUpperCase() : event.key);
  const pressed = [
    // The same keys serve on keyboards with a command key.
    event.ctrlKey || event.metaKey ? 'Ctrl' : '',
    event.altKey ? 'Alt' : '',
    // A slash is under Shift on many keyboards.
    event.shiftKey && key !== '/' ? 'Shift' : '',
    key,
  ];
  const keys = pressed.filter(Boolean).join('+');
  return SHORTCUTS.find((s) => s.keys === keys)?.action ?? null;
}
