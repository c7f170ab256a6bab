//! The window, and the two commands that its page may call.

use std::process::ExitCode;
use std::sync::Arc;

use kith_api::{ApiError, Drag, Push};
use kith_peer::node::{StartError, profile_home};
use serde_json::Value;
use tauri::ipc::Channel;
use tauri::{
    AppHandle, DragDropEvent, Manager as _, PhysicalPosition, RunEvent, State, WebviewUrl,
    WebviewWindow, WebviewWindowBuilder, WindowEvent,
};
use tauri_plugin_dialog::{DialogExt as _, MessageDialogKind};

use crate::args::{Args, invite_in};
use crate::desk::Desk;
use crate::shell::shown;

/// The window's name, for Tauri.
const MAIN: &str = "main";

type Behind = Arc<Desk>;

/// Runs the app until its window is closed.
pub fn run(args: Args) -> ExitCode {
    let alone = args.home.is_none();
    let mut builder = tauri::Builder::default();
    if alone {
        // Before all others, as it may end this process in favour of the one that runs.
        builder = builder.plugin(tauri_plugin_single_instance::init(|app, argv, _| {
            opened_again(app, &argv);
        }));
    }
    let built = builder
        .plugin(tauri_plugin_dialog::init())
        .plugin(tauri_plugin_opener::init())
        .plugin(tauri_plugin_window_state::Builder::default().build())
        .invoke_handler(tauri::generate_handler![call, attach, drawn])
        .on_window_event(|window, event| {
            if let (WindowEvent::DragDrop(event), Some(desk)) =
                (event, window.try_state::<Behind>())
            {
                dragged(&desk, event, window.scale_factor().unwrap_or(1.0));
            }
        })
        .setup(move |app| {
            set_up(app.handle(), args);
            Ok(())
        })
        .build(tauri::generate_context!());
    let app = match built {
        Ok(app) => app,
        Err(error) => {
            tracing::error!(%error, "no window can be shown");
            return ExitCode::FAILURE;
        }
    };
    let code = app.run_return(|app, event| {
        if let RunEvent::Exit = event
            && let Some(desk) = app.try_state::<Behind>()
        {
            tauri::async_runtime::block_on(desk.stop());
        }
    });
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn set_up(app: &AppHandle, args: Args) {
    end_on_signals(app);
    match tauri::async_runtime::block_on(start(app, &args)) {
        Ok(desk) => {
            if let Some(invite) = args.invite {
                desk.opened_with(invite.0);
            }
            app.manage(Arc::new(desk));
            if let Err(error) = open(app) {
                tracing::error!(%error, "no window can be shown");
                app.exit(1);
            }
        }
        Err(error) => refuse(app, &error),
    }
}

async fn start(app: &AppHandle, args: &Args) -> Result<Desk, StartError> {
    let home = profile_home(args.home.clone()).ok_or_else(|| StartError {
        code: kith_protocol::Code::BadRequest,
        message: "Say where the profile is: --home DIR.".to_owned(),
    })?;
    let downloads = app.path().download_dir();
    let downloads = downloads.unwrap_or_else(|_| home.join("Downloads"));
    Desk::start(app.clone(), home, &downloads, args.loopback).await
}

/// Says in a window of its own why there is none.
fn refuse(app: &AppHandle, error: &StartError) {
    tracing::error!(code = error.code.name(), "{}", error.message);
    let end = app.clone();
    app.dialog()
        .message(&error.message)
        .title("Kith cannot start")
        .kind(MessageDialogKind::Error)
        .show(move |_| end.exit(1));
}

fn open(app: &AppHandle) -> tauri::Result<WebviewWindow> {
    let window = WebviewWindowBuilder::new(app, MAIN, WebviewUrl::App("index.html".into()))
        .title("Kith")
        .inner_size(1080.0, 720.0)
        .min_inner_size(320.0, 400.0)
        // The page is part of the app; nothing else may ever be shown in its place.
        .on_navigation(|url| {
            matches!(url.scheme(), "tauri") || url.host_str() == Some("tauri.localhost")
        })
        .build()?;
    #[cfg(target_os = "linux")]
    window.with_webview(|view| paint_on_the_cpu(&view.inner()))?;
    Ok(window)
}

/// A page of text gains nothing from a GPU. Where there is none, as in virtual machines, WebKit
/// would emulate one, at several times the cost of a frame.
#[cfg(target_os = "linux")]
fn paint_on_the_cpu(view: &webkit2gtk::WebView) {
    use webkit2gtk::{HardwareAccelerationPolicy, SettingsExt as _, WebViewExt as _};
    if let Some(settings) = view.settings() {
        settings.set_hardware_acceleration_policy(HardwareAccelerationPolicy::Never);
    }
}

/// Another start of the app ends in this one.
fn opened_again(app: &AppHandle, argv: &[String]) {
    if let Some(window) = app.get_webview_window(MAIN) {
        let shown = window.unminimize().and_then(|()| window.set_focus());
        if let Err(error) = shown {
            tracing::debug!(%error, "the window does not come to the front");
        }
    }
    if let (Some(desk), Some(invite)) = (app.try_state::<Behind>(), invite_in(argv)) {
        desk.opened_with(invite.0);
    }
}

fn dragged(desk: &Desk, event: &DragDropEvent, scale: f64) {
    let at = |p: &PhysicalPosition<f64>| {
        // GTK counts in CSS pixels already.
        let scale = if cfg!(target_os = "linux") {
            1.0
        } else {
            scale
        };
        (p.x / scale, p.y / scale)
    };
    let drag = match event {
        DragDropEvent::Enter { position, .. } | DragDropEvent::Over { position } => {
            let (x, y) = at(position);
            Drag::Over { x, y }
        }
        DragDropEvent::Drop { paths, position } => {
            let (x, y) = at(position);
            desk.grants.give(paths);
            let paths = shown(paths);
            Drag::Dropped { x, y, paths }
        }
        // The event may grow cases; what we do not know ends a drag.
        DragDropEvent::Leave | _ => Drag::Left,
    };
    desk.pump.push(Push::Drag(drag));
}

/// A polite request to end closes links with a good-bye.
fn end_on_signals(app: &AppHandle) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let app = app.clone();
        tauri::async_runtime::spawn(async move {
            let both = (
                signal(SignalKind::terminate()),
                signal(SignalKind::interrupt()),
            );
            let (Ok(mut term), Ok(mut int)) = both else {
                tracing::warn!("signals cannot be heard");
                return;
            };
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            app.exit(0);
        });
    }
}

/// Any command of [`kith_api`] by its name.
#[tauri::command]
async fn call(desk: State<'_, Behind>, command: String, request: Value) -> Result<Value, ApiError> {
    desk.call(&command, request).await
}

/// The page wants to hear what happens.
#[tauri::command]
async fn attach(desk: State<'_, Behind>, channel: Channel<Push>) -> Result<(), ApiError> {
    desk.pump.attach(channel, desk.node.subscribe());
    Ok(())
}

/// The page has drawn what it heard last.
#[tauri::command]
fn drawn(desk: State<'_, Behind>) {
    desk.pump.drawn();
}
