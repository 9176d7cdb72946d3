/* gc/gc_allocator.h - allocators for the containers of C++.
 *
 *   gc_allocator<T>                   collected; atomic if T has no pointers
 *   gc_allocator_ignore_off_page<T>   the same: all interior pointers count
 *   traceable_allocator<T>            kept until the container frees it, and searched: for
 *                                     containers that lie where the collector does not look
 *
 * GC_DECLARE_PTRFREE(T); says that a T has no pointers. */
#ifndef GC_ALLOCATOR_H
#define GC_ALLOCATOR_H

#include "gc.h"
#include <new>

struct GC_true_type {};
struct GC_false_type {};

template <class T> struct GC_type_traits { GC_false_type GC_is_ptr_free; };
#define GC_DECLARE_PTRFREE(T) \
 template <> struct GC_type_traits<T> { GC_true_type GC_is_ptr_free; }

GC_DECLARE_PTRFREE(char);
GC_DECLARE_PTRFREE(signed char);
GC_DECLARE_PTRFREE(unsigned char);
GC_DECLARE_PTRFREE(short);
GC_DECLARE_PTRFREE(unsigned short);
GC_DECLARE_PTRFREE(int);
GC_DECLARE_PTRFREE(unsigned);
GC_DECLARE_PTRFREE(long);
GC_DECLARE_PTRFREE(unsigned long);
GC_DECLARE_PTRFREE(float);
GC_DECLARE_PTRFREE(double);
GC_DECLARE_PTRFREE(long double);

inline void *GC_allocator_had(void *object) {
#if defined(GC_NEW_ABORTS_ON_OOM) || !defined(__EXCEPTIONS)
    if (!object) GC_abort_on_oom();
#else
    if (!object) throw std::bad_alloc();
#endif
    return object;
}

inline void *GC_selective_alloc(size_t size, GC_false_type, bool ignore_off_page) {
    return GC_allocator_had(ignore_off_page ? GC_MALLOC_IGNORE_OFF_PAGE(size) : GC_MALLOC(size));
}
inline void *GC_selective_alloc(size_t size, GC_true_type, bool ignore_off_page) {
    return GC_allocator_had(ignore_off_page ? GC_MALLOC_ATOMIC_IGNORE_OFF_PAGE(size)
                                            : GC_MALLOC_ATOMIC(size));
}

/* What the three have in common. */
template <class T> struct GC_allocator_parts {
    typedef size_t size_type;
    typedef ptrdiff_t difference_type;
    typedef T *pointer;
    typedef const T *const_pointer;
    typedef T &reference;
    typedef const T &const_reference;
    typedef T value_type;

    pointer address(reference x) const {
        return &x;
    }
    const_pointer address(const_reference x) const {
        return &x;
    }
    size_type max_size() const GC_NOEXCEPT {
        return size_type(-1) / sizeof(T);
    }
    void construct(pointer p, const T &x) {
        new (p) T(x);
    }
    void destroy(pointer p) {
        p->~T();
    }
    void deallocate(pointer p, size_type) GC_NOEXCEPT {
        GC_FREE(p);
    }
};

/* An allocator of the name, whose memory for n objects is `memory`. */
#define GC_ALLOCATOR(name, memory)                                        \
 template <class T> class name : public GC_allocator_parts<T> {           \
public:                                                                   \
  template <class U> struct rebind { typedef name<U> other; };            \
  name() GC_NOEXCEPT {                                                    \
  }                                                                       \
  name(const name &) GC_NOEXCEPT : GC_allocator_parts<T>() {              \
  }                                                                       \
  template <class U> GC_ATTR_EXPLICIT name(const name<U> &) GC_NOEXCEPT { \
  }                                                                       \
  T *allocate(size_t n, const void * = 0) {                               \
   return static_cast<T *>(memory);                                       \
  }                                                                       \
 };                                                                       \
 template <> class name<void> {                                           \
public:                                                                   \
  typedef void *pointer;                                                  \
  typedef const void *const_pointer;                                      \
  typedef void value_type;                                                \
  template <class U> struct rebind { typedef name<U> other; };            \
 };                                                                       \
 template <class T, class U>                                              \
 inline bool operator==(const name<T> &, const name<U> &) GC_NOEXCEPT {   \
  return true;                                                            \
 }                                                                        \
 template <class T, class U>                                              \
 inline bool operator!=(const name<T> &, const name<U> &) GC_NOEXCEPT {   \
  return false;                                                           \
 }

GC_ALLOCATOR(gc_allocator,
             GC_selective_alloc(n * sizeof(T), GC_type_traits<T>().GC_is_ptr_free, false))
GC_ALLOCATOR(gc_allocator_ignore_off_page,
             GC_selective_alloc(n * sizeof(T), GC_type_traits<T>().GC_is_ptr_free, true))
GC_ALLOCATOR(traceable_allocator, GC_allocator_had(GC_MALLOC_UNCOLLECTABLE(n * sizeof(T))))
#undef GC_ALLOCATOR

#endif
