//! What a frame of the outputs and the plot costs, in processor time: `cargo run --release -p softprefix --example frame_cost`.
//!
//! Two texts of 20,000 characters and a plot of 1,000 points, at rest, while scrolling, while text arrives and while the
//! window is resized. Interface and tessellation are counted, painting on the graphics card is not. With `--check` it
//! fails where a figure is above its bound.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

use cpu_time::ThreadTime;
use eframe::egui::{self, Context, Event, MouseWheelUnit, Pos2, RawInput, Rect, UiBuilder, Vec2, pos2, vec2};
use softprefix::views::axis::{Axis, RegionNames, Regions};
use softprefix::views::diff::{Content, DiffPanes, DiffSide};
use softprefix::views::plot::{Current, Plot, Point};
use softprefix::{fonts, theme};

const CHARACTERS: usize = 20_000;
const POINTS: usize = 1_000;
const FRAMES: usize = 200;

struct Scene {
    panes: DiffPanes,
    texts: [String; 2],
    marks: [Vec<Range<usize>>; 2],
    points: Vec<Point>,
    streaming: bool,
}

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    println!(
        "{CHARACTERS} characters a side, {POINTS} points, {FRAMES} frames, processor time of the interface thread"
    );
    println!("{:<28} {:>9} {:>9} {:>9}", "", "p50 ms", "p95 ms", "bound");
    let mut failed = false;
    for (name, bound, step) in CASES {
        let mut times = measure(*step);
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        let (p50, p95) = (at(0.5), at(0.95));
        println!("{name:<28} {p50:>9.2} {p95:>9.2} {bound:>9.2}");
        failed |= p50 > *bound;
    }
    if check && failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// What changes from frame to frame: (frame, scene, size of the window) → events.
type Step = fn(usize, &mut Scene, &mut Vec2) -> Vec<Event>;

/// Name, bound of the median in milliseconds (release build, the machine of the notes), what changes.
const CASES: &[(&str, f64, Step)] = &[
    ("at rest", 0.73, |_, _, _| Vec::new()),
    ("scrolling", 0.9, |frame, _, _| {
        let delta = if frame % 100 < 50 { -240.0 } else { 240.0 };
        vec![wheel(delta)]
    }),
    ("text arriving", 1.5, |_, scene, _| {
        scene.streaming = true;
        scene.texts[1].push_str("花が");
        Vec::new()
    }),
    ("moving the magnitude", 0.73, |_, _, _| Vec::new()),
    ("resizing", 3.6, |frame, _, size| {
        size.x = 1280.0 + (frame % 40) as f32 * 4.0;
        Vec::new()
    }),
];

fn wheel(delta: f32) -> Event {
    Event::MouseWheel {
        unit: MouseWheelUnit::Point,
        delta: vec2(0.0, delta),
        phase: egui::TouchPhase::Move,
        source: egui::MouseWheelSource::Unknown,
        modifiers: egui::Modifiers::NONE,
    }
}

fn measure(step: Step) -> Vec<Duration> {
    let ctx = Context::default();
    fonts::install(&ctx);
    theme::install(&ctx);
    let mut scene = Scene::new();
    let mut size = vec2(1280.0, 800.0);
    let mut times = Vec::with_capacity(FRAMES);
    // The first frames fill the font atlas and learn the paragraphs' heights.
    for frame in 0..FRAMES + 40 {
        let mut events = vec![Event::PointerMoved(pos2(300.0, 200.0))];
        if frame >= 40 {
            events.extend(step(frame - 40, &mut scene, &mut size));
        }
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, size)),
            time: Some(frame as f64 / 60.0),
            events,
            ..RawInput::default()
        };
        let start = ThreadTime::now();
        let output = ctx.run_ui(input, |ui| scene.show(ui, frame));
        let shapes = ctx.tessellate(output.shapes.clone(), output.pixels_per_point);
        let spent = start.elapsed();
        assert!(!shapes.is_empty());
        output.drop_without_applying_deltas();
        if frame >= 40 {
            times.push(spent);
        }
    }
    times
}

impl Scene {
    fn new() -> Self {
        let sentence = "春の花を咲かせ、風に揺れる葉を見つめ、花の香りに心を包まれて、静かな朝を歩く。";
        let text = |salt: usize| {
            let mut text = String::new();
            let mut count = 0;
            while count < CHARACTERS {
                text.push_str(sentence);
                count += 40;
                if (count / 40 + salt).is_multiple_of(6) {
                    text.push('\n');
                }
            }
            text
        };
        let texts = [text(0), text(3)];
        let marks = [0, 1].map(|side: usize| {
            let text: &String = &texts[side];
            let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            starts
                .chunks(14)
                .filter(|chunk| chunk.len() > 7)
                .map(|chunk| chunk[2]..chunk[7])
                .collect()
        });
        let points = (0..POINTS)
            .map(|index| {
                let x = 10_f64.powf(-3.0 + 5.0 * index as f64 / POINTS as f64);
                let y = 100.0 / (1.0 + x * x) + (index % 7) as f64;
                Point {
                    id: index as u64,
                    x,
                    y,
                    collapsed: x > 20.0,
                    joined: index % 3 != 0,
                }
            })
            .collect();
        Self {
            panes: DiffPanes::default(),
            texts,
            marks,
            points,
            streaming: false,
        }
    }

    fn show(&mut self, ui: &mut egui::Ui, frame: usize) {
        let rect = ui.max_rect();
        let half = (rect.width() - 16.0) / 2.0;
        for (index, pane) in [DiffSide::Left, DiffSide::Right].into_iter().enumerate() {
            let left = rect.left() + index as f32 * (half + 16.0);
            let area = Rect::from_min_size(pos2(left, rect.top()), vec2(half, 400.0));
            let mut child = ui.new_child(UiBuilder::new().id_salt(index).max_rect(area));
            let content = Content {
                text: &self.texts[index],
                marks: &self.marks[index],
                heats: &[],
                current: None,
                first_difference: Some((54, "19")),
                streaming: self.streaming && index == 1,
                opacity: 1.0,
                name: "output",
                description: "",
            };
            self.panes
                .show(&mut child, pane, &content, theme::Type { size: 22.0, line: 40.0 });
        }
        let area = Rect::from_min_max(pos2(rect.left(), rect.top() + 416.0), rect.max);
        let mut child = ui.new_child(UiBuilder::new().id_salt("plot").max_rect(area));
        let names = RegionNames {
            floor: "under the floor",
            tokens: "token-like",
            over: "overdriven",
        };
        let x = 10_f64.powf(-3.0 + 5.0 * (frame % FRAMES) as f64 / FRAMES as f64);
        let plot = Plot {
            name: "plot",
            axis: Axis::NORMS,
            regions: Some((Regions::NORMS, names)),
            points: &self.points,
            top: 107.0,
            y_label: "chrF2",
            x_label: "Magnitude",
            noise: None,
            collapse: Some((20.0, "collapsed")),
            current: Some(Current {
                x,
                y: Some(50.0),
                tag: format!("{x:.2}"),
                movable: true,
            }),
            second: None,
            selected: None,
            empty: "",
        };
        plot.show(&mut child, area.size(), |id| id.to_string());
    }
}
