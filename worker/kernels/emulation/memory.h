// The memory of a launch: the buffers that a kernel is given, between pages that nobody may touch, and shared memory.
#pragma once

#include <link.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "play.h"

namespace emulation {

constexpr size_t PAGE = 4096;
// Of every byte 0xff a NaN is made in f32, f16 and bf16; 0xfe is another pattern for orders to disagree about.
inline int poison() { return order_number % 2 == 0 ? 0xff : 0xfe; }

// What is not written since the block began is NaN: the thread-local variables of the program itself (see `cuda.h`).
inline void poison_shared_memory() {
    const auto own_variables = [](dl_phdr_info* program, size_t, void*) {
        for (int i = 0; i < program->dlpi_phnum; i++) {
            const auto& segment = program->dlpi_phdr[i];
            if (segment.p_type == PT_TLS && program->dlpi_tls_data) {
                memset(program->dlpi_tls_data, 0xff, segment.p_memsz);
            }
        }
        // The program is the first; not those of the libraries.
        return 1;
    };
    dl_iterate_phdr(own_variables, nullptr);
}

// One buffer, of which bytes [begin, end) exist and the rest is address space only: so tensors of many gigabytes cost
// nothing. As its end is followed by an unreadable page, so is its start preceded by one, or nearly: up to 15 bytes
// and `shift` lie between, are NaN, and must not change.
class Buffer {
  public:
    enum class Use { In, Out, InOut };

    // `shift` moves the start off its alignment to 16 bytes.
    Buffer(Use use, size_t bytes, size_t shift, size_t begin, size_t end, std::string content)
        : use(use), bytes(bytes), begin(begin), end(end), content(std::move(content)) {
        const size_t room = (bytes + shift + 15) / 16 * 16;
        pages = (room + PAGE - 1) / PAGE * PAGE;
        void* const map = mmap(nullptr, pages + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED) fail("no address space for a buffer of %zu bytes", bytes);
        base = static_cast<unsigned char*>(map) + PAGE;
        data = base + pages - room + shift;
        // Whole pages around what exists; the first and the last reach the edges.
        open = begin == 0 ? base : page_of(data + begin);
        close = end == bytes ? base + pages : page_of(data + end + PAGE - 1);
        protect(PROT_READ | PROT_WRITE);
    }

    // Before each order.
    void fill() {
        if (use == Use::In && filled) return;
        memset(open, poison(), close - open);
        if (use != Use::Out) memcpy(data + begin, content.data(), content.size());
        if (use == Use::In) protect(PROT_READ);
        filled = true;
    }

    // After each order: what the kernel left there.
    std::string result(int parameter) const {
        if (use == Use::In) return {};
        for (const unsigned char* p = open; p < close; p++) {
            const bool outside = p < data + begin || p >= data + end;
            if (outside && *p != poison()) fail("wrote %td bytes from the start of parameter %d", p - data, parameter);
        }
        return {reinterpret_cast<const char*>(data) + begin, end - begin};
    }

    bool has(const void* address) const {
        const auto* p = static_cast<const unsigned char*>(address);
        return p >= base - PAGE && p < base + pages + PAGE;
    }

    Use use;
    size_t bytes, begin, end;
    unsigned char* data;

  private:
    static unsigned char* page_of(unsigned char* address) {
        return reinterpret_cast<unsigned char*>(reinterpret_cast<uintptr_t>(address) / PAGE * PAGE);
    }
    void protect(int how) {
        if (mprotect(open, close - open, how) != 0) fail("mprotect");
    }

    std::string content;
    unsigned char *base, *open, *close;
    size_t pages;
    bool filled = false;
};

}  // namespace emulation
