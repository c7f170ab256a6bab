import './app.css';
import { mount } from 'svelte';
import type { Host } from './lib/api/host';
import { App } from './lib/model/app.svelte';
import Window from './lib/screens/Window.svelte';

/** In a plain browser there is no engine: a scene is played instead. None of it is shipped. */
async function host(): Promise<Host> {
  if (import.meta.env.DEV || import.meta.env.MODE === 'fake') {
    const inShell = '__TAURI_INTERNALS__' in window;
    if (!inShell) {
      const { FakeHost } = await import('./lib/api/fake/host');
      return new FakeHost(new URLSearchParams(location.search));
    }
  }
  const { TauriHost } = await import('./lib/api/tauri');
  return new TauriHost();
}

const target = document.getElementById('app');
if (!target) throw new Error('the page has no place for the app');
const app = new App(await host());
mount(Window, { target, props: { app } });
void app.start();
