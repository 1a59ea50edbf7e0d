//! Pictures of figures.

use std::sync::{Arc, LazyLock};

use png::{ColorType, Compression, Encoder, EncodingError};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};

/// `DejaVu` Sans, with the characters that figures are written in; see font.md. What it lacks is left out of pictures.
const FONT: &[u8] = include_bytes!("font.ttf");
const FAMILY: &str = "Lorahost Sans";

/// Pixels of a picture to one of the figure.
const SCALE: f32 = 2.0;

static OPTIONS: LazyLock<Options> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family(FAMILY);
    Options {
        font_family: FAMILY.to_owned(),
        fontdb: Arc::new(fonts),
        ..Options::default()
    }
});

/// Why a figure has no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error(transparent)]
    Svg(#[from] resvg::usvg::Error),
    #[error("its size is {width} x {height}")]
    Size { width: u32, height: u32 },
    #[error("it cannot be encoded: {0}")]
    Encode(#[from] EncodingError),
}

/// The drawing as PNG. The fonts of the machine have no part in it.
pub fn png(svg: &str) -> Result<Vec<u8>, PictureError> {
    let tree = Tree::from_str(svg, &OPTIONS)?;
    let size = tree.size().to_int_size();
    let (width, height) = (
        (size.width() as f32 * SCALE) as u32,
        (size.height() as f32 * SCALE) as u32,
    );
    let mut pixels = Pixmap::new(width, height).ok_or(PictureError::Size { width, height })?;
    resvg::render(
        &tree,
        Transform::from_scale(SCALE, SCALE),
        &mut pixels.as_mut(),
    );
    Ok(encode(&pixels)?)
}

/// Without transparency (a figure has its paper), and quickly: the encoder's default takes longer than all the rest.
fn encode(pixels: &Pixmap) -> Result<Vec<u8>, EncodingError> {
    let colours: Vec<u8> = pixels
        .data()
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect();
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, pixels.width(), pixels.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_compression(Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&colours)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_drawn() {
        let svg = |text: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"60\" height=\"20\"><style>text{{font-family:'DejaVu Sans',\
                 sans-serif;font-size:12px}}</style><rect width=\"60\" height=\"20\" fill=\"#fff\"/><text x=\"2\" y=\"15\">{text}</text></svg>"
            )
        };
        let empty = png(&svg("")).unwrap();
        assert_eq!(&empty[1..4], b"PNG");
        for text in ["lr 1e-4", "≥ 10", "‖σ‖ ×"] {
            assert_ne!(png(&svg(text)).unwrap(), empty, "{text}");
        }
    }
}
