//! A small window to drag files out of, as a file manager has them: `drag-source PATH…`.
//!
//! It stands in the top left corner of the screen, says `ready` when it is shown, and ends when a
//! drag out of it has ended.

#![allow(
    clippy::print_stdout,
    reason = "what it says is for the test that started it"
)]

use gtk::prelude::*;

fn main() {
    gtk::init().expect("there is a display");
    let uris: Vec<String> = std::env::args()
        .skip(1)
        .map(|path| {
            let file = gtk::gio::File::for_path(path);
            file.uri().to_string()
        })
        .collect();
    let window = gtk::Window::new(gtk::WindowType::Popup);
    window.move_(0, 0);
    window.set_default_size(40, 40);
    let files = gtk::TargetEntry::new("text/uri-list", gtk::TargetFlags::empty(), 0);
    window.drag_source_set(
        gtk::gdk::ModifierType::BUTTON1_MASK,
        &[files],
        gtk::gdk::DragAction::COPY,
    );
    window.connect_drag_data_get(move |_, _, data, _, _| {
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        data.set_uris(&uris);
    });
    window.connect_drag_end(|_, _| gtk::main_quit());
    window.connect_map_event(|_, _| {
        println!("ready");
        gtk::glib::Propagation::Proceed
    });
    window.show_all();
    gtk::main();
}
