;; guile.scm - keeps a tree and a weak table while it makes trees that it drops; says when it is
;; ready, and goes on until its input ends.
(define (tree n) (if (= n 0) '() (cons (tree (- n 1)) (tree (- n 1)))))
(define kept (tree 18))
(define weak (make-weak-key-hash-table))
(define (work) (tree 14) (hashq-set! weak (list 'key) (list 'value)))
(do ((i 0 (+ i 1))) ((= i 100)) (work))
(display "ready\n")
(force-output)
(while (not (char-ready? (current-input-port))) (work))
