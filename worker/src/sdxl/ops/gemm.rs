//! A bounds-checked interface to the `gemm` crate, for kernels that read and write parts of larger buffers.
//!
//! candle's matrix product needs contiguous tensors. Attention heads and convolution windows are strided parts of a
//! buffer, and for small sizes a copy costs more than the product.

/// A read-only matrix inside a slice: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major `rows` x `cols` matrix.
    pub(super) fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transposed matrix.
    pub(super) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride < self.data.len()
    }
}

/// What happens to the old numbers of `dst`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// They are overwritten.
    Nothing,
    /// The product is added to them.
    Sum,
}

/// `dst = factor * a b` or `dst += factor * a b`, on the calling thread: callers split the work.
///
/// `dst` is row-major with `dst_stride` numbers from one row to the next.
///
/// # Panics
/// If a matrix does not fit its slice or the shapes do not match.
pub(super) fn multiply(
    dst: &mut [f32],
    dst_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    factor: f32,
    keep: Keep,
) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    if m == 0 || n == 0 {
        return;
    }
    assert!(b.rows == k && a.fits() && b.fits(), "gemm: the operands do not match");
    assert!(dst_stride >= n && (m - 1) * dst_stride + n <= dst.len(), "gemm: the result does not fit");
    // SAFETY: the index ranges of all three matrices were checked against their slices above, the strides fit isize
    // because they index slices, and `dst` is borrowed mutably, so it does not overlap the operands.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
            keep == Keep::Sum,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
