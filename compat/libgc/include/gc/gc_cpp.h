/* gc/gc_cpp.h - collected objects by new.
 *
 *   struct node : public gc { … };          new node            collected
 *   struct file : public gc_cleanup { … };  new file            and its destructor runs first
 *   new (GC) int[10]                        of any type         collected
 *   new (PointerFreeGC) int[10]                                 collected, not searched
 *   new (NoGC) node                                             kept until delete
 *   new (GC, function, data) int[10]                            function(object, data) runs first
 *
 * All is inline: nothing of libgccpp is needed. That library, which replaces the plain operator
 * new and delete, is Debian's, and runs with this libgc.so.1 as well. */
#ifndef GC_CPP_H
#define GC_CPP_H

#include "gc.h"
#include <new>

#ifndef GC_NO_OPERATOR_NEW_ARRAY
# define GC_OPERATOR_NEW_ARRAY
#endif
#define GC_PLACEMENT_DELETE
#define GC_cdecl GC_CALLBACK

#ifdef GC_NAMESPACE
# define GC_NS_QUALIFY(name) boehmgc::name
namespace boehmgc {
#else
# define GC_NS_QUALIFY(name) name
#endif

/* GC is the name of other things, too: GC_NAME_CONFLICT leaves it out. */
enum GCPlacement {
    UseGC,
#ifndef GC_NAME_CONFLICT
    GC = UseGC,
#endif
    NoGC,
    PointerFreeGC
#ifdef GC_ATOMIC_UNCOLLECTABLE
    ,
    PointerFreeNoGC
#endif
};

extern "C" {
typedef void(GC_CALLBACK *GCCleanUpFunc)(void *object, void *data);
}

/* Returns object; without one throws std::bad_alloc, or ends the program where that cannot be. */
inline void *GC_cpp_had(void *object) {
#if defined(GC_NEW_ABORTS_ON_OOM) || !defined(__EXCEPTIONS)
    if (!object) GC_abort_on_oom();
#else
    if (!object) throw std::bad_alloc();
#endif
    return object;
}
#define GC_OP_NEW_OOM_CHECK(object) ((void)GC_NS_QUALIFY(GC_cpp_had)(object))

inline void *GC_cpp_alloc(size_t size, GCPlacement where) {
    switch (where) {
    case UseGC:
        return GC_cpp_had(GC_MALLOC(size));
    case PointerFreeGC:
        return GC_cpp_had(GC_MALLOC_ATOMIC(size));
#ifdef GC_ATOMIC_UNCOLLECTABLE
    case PointerFreeNoGC:
        return GC_cpp_had(GC_MALLOC_ATOMIC_UNCOLLECTABLE(size));
#endif
    default:
        return GC_cpp_had(GC_MALLOC_UNCOLLECTABLE(size));
    }
}

/* What is derived from it is collected, unless placed otherwise. */
class gc {
  public:
    void *operator new(size_t size) {
        return GC_cpp_alloc(size, UseGC);
    }
    void *operator new(size_t size, GCPlacement where) {
        return GC_cpp_alloc(size, where);
    }
    void *operator new(size_t, void *place) GC_NOEXCEPT {
        return place;
    }
    void operator delete(void *object) GC_NOEXCEPT {
        GC_FREE(object);
    }
    void operator delete(void *object, GCPlacement) GC_NOEXCEPT {
        GC_FREE(object);
    }
    void operator delete(void *, void *) GC_NOEXCEPT {
    }
#ifdef GC_OPERATOR_NEW_ARRAY
    void *operator new[](size_t size) {
        return GC_cpp_alloc(size, UseGC);
    }
    void *operator new[](size_t size, GCPlacement where) {
        return GC_cpp_alloc(size, where);
    }
    void *operator new[](size_t, void *place) GC_NOEXCEPT {
        return place;
    }
    void operator delete[](void *object) GC_NOEXCEPT {
        GC_FREE(object);
    }
    void operator delete[](void *object, GCPlacement) GC_NOEXCEPT {
        GC_FREE(object);
    }
    void operator delete[](void *, void *) GC_NOEXCEPT {
    }
#endif
};

/* What is derived from it, or has a member that is, is destroyed when it is found unreachable. Of
 * an array only the first element is. */
class gc_cleanup : virtual public gc {
  public:
    /* The first of an object's parts to ask is the one that is told: the outermost. */
    gc_cleanup() {
        char *start = static_cast<char *>(GC_base(this));
        if (!start) return;
        GC_finalization_proc before = 0;
        void *data = 0;
        GC_register_finalizer_ignore_self(
            start, cleanup, reinterpret_cast<void *>(reinterpret_cast<char *>(this) - start),
            &before, &data);
        if (before) GC_register_finalizer_ignore_self(start, before, data, 0, 0);
    }
    virtual ~gc_cleanup() {
        if (void *start = GC_base(this)) GC_register_finalizer_ignore_self(start, 0, 0, 0, 0);
    }

  private:
    static void GC_CALLBACK cleanup(void *start, void *offset) {
        char *self = static_cast<char *>(start) + reinterpret_cast<ptrdiff_t>(offset);
        reinterpret_cast<gc_cleanup *>(self)->~gc_cleanup();
    }
};

#ifdef GC_NAMESPACE
}
#endif

inline void *operator new(size_t size, GC_NS_QUALIFY(GCPlacement) where,
                          GC_NS_QUALIFY(GCCleanUpFunc) cleanup = 0, void *data = 0) {
    void *object = GC_NS_QUALIFY(GC_cpp_alloc)(size, where);
    if (cleanup && where == GC_NS_QUALIFY(UseGC))
        GC_REGISTER_FINALIZER_IGNORE_SELF(object, cleanup, data, 0, 0);
    return object;
}

/* Called when a constructor throws. */
inline void operator delete(void *object, GC_NS_QUALIFY(GCPlacement), GC_NS_QUALIFY(GCCleanUpFunc),
                            void *) GC_NOEXCEPT {
    GC_FREE(object);
}

#ifdef GC_OPERATOR_NEW_ARRAY
inline void *operator new[](size_t size, GC_NS_QUALIFY(GCPlacement) where,
                            GC_NS_QUALIFY(GCCleanUpFunc) cleanup = 0, void *data = 0) {
    return ::operator new(size, where, cleanup, data);
}
inline void operator delete[](void *object, GC_NS_QUALIFY(GCPlacement),
                              GC_NS_QUALIFY(GCCleanUpFunc), void *) GC_NOEXCEPT {
    GC_FREE(object);
}
#endif

#endif
