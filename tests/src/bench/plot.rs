//! Bars beside each other, as SVG.

use std::fmt::Write as _;

/// Bars that are compared with one another.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Above them.
    pub title: String,
    /// From the top.
    pub bars: Vec<Bar>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Bar {
    /// To its left.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// Stands out.
    pub ours: bool,
    /// May be longer than there is room: it is cut, and its value says so.
    pub beyond: bool,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 34.0;

/// Draws panels below one another, each with a scale of its own, under a title.
pub fn svg(title: &str, unit: &str, panels: &[Panel]) -> String {
    let rows: usize = panels.iter().map(|p| p.bars.len()).sum();
    let height = 40.0 + panels.len() as f64 * (HEAD + 8.0) + rows as f64 * ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <style>text {{ fill: #111827 }} .ground {{ fill: #ffffff }} @media \
         (prefers-color-scheme: dark) {{ text {{ fill: #e5e7eb }} .ground {{ fill: #111827 }} }}\
         </style>\n\
         <rect width=\"100%\" height=\"100%\" class=\"ground\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    let mut y = 40.0;
    for panel in panels {
        y += HEAD;
        let name = escape(&panel.title);
        let _ = writeln!(
            out,
            "<text x=\"16\" y=\"{:.0}\" font-weight=\"bold\">{name}</text>",
            y - 12.0
        );
        let within = panel.bars.iter().filter(|b| !b.beyond).map(|b| b.value);
        let scale = within.fold(f64::MIN_POSITIVE, f64::max);
        for bar in &panel.bars {
            let room = WIDTH - LEFT - RIGHT;
            let length = (bar.value / scale).min(1.0) * room;
            let fill = if bar.ours { "#3b82f6" } else { "#9ca3af" };
            let cut = if bar.value > scale { " »" } else { "" };
            let (label, text) = (escape(&bar.label), y + ROW * 0.68);
            let digits = usize::from(bar.value < 10.0);
            let _ = writeln!(
                out,
                "<text x=\"{:.0}\" y=\"{text:.1}\" text-anchor=\"end\">{label}</text>\
                 <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" \
                 fill=\"{fill}\"/>\
                 <text x=\"{:.1}\" y=\"{text:.1}\">{:.digits$} {unit}{cut}</text>",
                LEFT - 8.0,
                y + 3.0,
                ROW - 6.0,
                LEFT + length + 6.0,
                bar.value,
            );
            y += ROW;
        }
        y += 8.0;
    }
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_keep_to_their_room_and_what_is_beyond_says_so() {
        let bar = |label: &str, value, beyond| Bar {
            label: label.into(),
            value,
            ours: false,
            beyond,
        };
        let panel = Panel {
            title: "a < b".into(),
            bars: vec![
                bar("half", 50.0, false),
                bar("all", 100.0, false),
                bar("more", 900.0, true),
            ],
        };
        let drawn = svg("t", "MB/s", &[panel]);
        let lengths: Vec<&str> = drawn
            .split("width=\"")
            .skip(2)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(lengths, ["240.0", "480.0", "480.0"]);
        assert!(drawn.contains("900 MB/s »") && drawn.contains("a &lt; b"));
    }
}
