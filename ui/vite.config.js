import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

/**
 * What the window may load: its own files and the engine, nothing else. Vite's development server
 * injects styles and scripts, so this stands in built pages only.
 */
export const CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  'connect-src ipc: http://ipc.localhost',
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

const strict = {
  name: 'strict-csp',
  apply: 'build',
  transformIndexHtml: () => [
    { tag: 'meta', attrs: { 'http-equiv': 'Content-Security-Policy', content: CSP } },
  ],
};

export default defineConfig(({ mode }) => ({
  plugins: [svelte(), strict],
  clearScreen: false,
  logLevel: mode === 'fake' ? 'error' : 'info',
  server: { port: 5180, strictPort: true, host: '127.0.0.1' },
  build: {
    target: 'es2022',
    // A page with the fake host is for looking at and for tests; it is never what is shipped.
    outDir: mode === 'fake' ? '../target/ui-fake' : 'dist',
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 400,
  },
}));
