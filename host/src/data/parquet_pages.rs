//! Pages of a Parquet column, checked for what the reader of the crate `parquet` takes for granted and would panic over,
//! and counted: a few bytes of a page may stand for millions of values.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

use super::table::Cell;

/// Bytes of memory that a file may still unpack into: one for all of its columns.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<AtomicI64>);

impl Budget {
    pub fn of(bytes: u64) -> Self {
        Self(Arc::new(AtomicI64::new(
            i64::try_from(bytes).unwrap_or(i64::MAX),
        )))
    }

    /// Takes `count` things of `size` bytes each.
    pub fn take(&self, count: usize, size: usize) -> Result<()> {
        let bytes = i64::try_from(count.saturating_mul(size)).unwrap_or(i64::MAX);
        let left = self.0.load(Ordering::Relaxed).saturating_sub(bytes);
        self.0.store(left, Ordering::Relaxed);
        if left < 0 {
            return Err(ParquetError::General("it unpacks to too much".to_owned()));
        }
        Ok(())
    }

    /// Whether more was taken than there was.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }
}

/// Passes on the pages of another reader.
pub(super) struct CheckedPages {
    inner: Box<dyn PageReader>,
    dictionary: bool,
    budget: Budget,
}

impl CheckedPages {
    pub fn new(inner: Box<dyn PageReader>, budget: Budget) -> Self {
        Self {
            inner,
            dictionary: false,
            budget,
        }
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        if let Some(page) = &page {
            // Before they are values: all those of a list are read at once, however many.
            let values = page.num_values() as usize;
            self.budget.take(values, size_of::<Cell>())?;
        }
        match &page {
            Some(Page::DictionaryPage { .. }) => self.dictionary = true,
            Some(page) => {
                let by_dictionary = matches!(
                    page.encoding(),
                    Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY
                );
                if by_dictionary && !self.dictionary {
                    return Err(ParquetError::General(
                        "a page needs a dictionary, and there is none".to_owned(),
                    ));
                }
            }
            None => {}
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
