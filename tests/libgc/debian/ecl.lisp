;;; Compiled by ECL itself, loaded, and run: threads, finalizers, hash tables, CLOS, big numbers.
;;; Counts of what dies depend on the collector, so only what must hold of them is printed.
(in-package :cl-user)

(defstruct node left right (weight 1 :type fixnum))

(defun build (depth)
  (if (= depth 0)
      (make-node)
      (let ((left (build (1- depth))) (right (build (1- depth))))
        (make-node :left left :right right
                   :weight (+ (node-weight left) (node-weight right))))))

(defun weigh (node)
  (if (node-left node)
      (+ (weigh (node-left node)) (weigh (node-right node)))
      (node-weight node)))

(defun grow (size seed)
  (let ((lasting (build 12)) (sum seed))
    (dotimes (i size (list seed sum (weigh lasting)))
      (setf sum (mod (+ (* sum 31) (weigh (build (+ 6 (mod i 5))))) 1000003)))))

(defun grow-in-threads (size)
  (let ((threads (loop for seed below 4
                       collect (let ((seed seed))
                                 (mp:process-run-function 'grow (lambda () (grow size seed)))))))
    (dolist (thread threads)
      (format t "thread ~a~%" (mp:process-join thread)))))

;;; Each finalizer gets its own object, whole, and once. What is watched are structures, for ECL's
;;; conses are tagged pointers, which finalizers of the stock library do not stand.
(defstruct watched number check dropped)

(defvar *finalized* (make-array 0))
(defvar *wrong* 0)

(defun finalized (object)
  (let ((number (watched-number object)))
    (if (and (eql (watched-check object) (- number)) (watched-dropped object)
             (eql (svref *finalized* number) 0))
        (setf (svref *finalized* number) 1)
        (incf *wrong*))))

(defun watch (number dropped)
  (let ((object (make-watched :number number :check (- number) :dropped dropped)))
    (ext:set-finalizer object #'finalized)
    object))

(defun drop-objects (from to)
  (loop for i from from below to
        collect (ext:make-weak-pointer (watch i t))))

(defun finalizers (count)
  (setf *finalized* (make-array count :initial-element 0))
  (let* ((held (loop for i below count collect (watch i nil)))
         (dropped (drop-objects 0 count)))
    (ext:gc t)
    (build 12)
    (ext:gc t)
    (format t "finalized ~a, wrong ~a, held ~a, not both ~a~%"
            (> (reduce #'+ *finalized*) (floor count 2)) *wrong*
            (loop for object in held for i from 0
                  always (and (eql (watched-number object) i) (not (watched-dropped object))))
            (loop for pointer in dropped for i from 0
                  always (or (eql (svref *finalized* i) 0)
                             (null (ext:weak-pointer-value pointer)))))
    (dolist (object held) (ext:set-finalizer object nil))))

(defun tables (count)
  (let ((table (make-hash-table :test 'equal)) (sum 0))
    (dotimes (i count) (setf (gethash (format nil "~36r" (* i 7919)) table) (list i)))
    (dotimes (i count)
      (setf sum (mod (+ (* sum 31) (first (gethash (format nil "~36r" (* i 7919)) table)))
                     1000003)))
    (format t "table ~a, ~a~%" (hash-table-count table) sum)))

(defun weak-tables (count)
  (let ((table (make-hash-table :test 'eq :weakness :key))
        (held (loop for i below count collect (make-watched :number i)))
        (found 0))
    (dolist (key held) (setf (gethash key table) (vector (watched-number key))))
    (dotimes (i count) (setf (gethash (make-watched :dropped t) table) (make-string 20)))
    (ext:gc t)
    (ext:gc t)
    (maphash (lambda (key value) (declare (ignore value))
               (when (and key (watched-dropped key)) (incf found)))
             table)
    (format t "weak: held ~a, dropped mostly gone ~a~%"
            (loop for key in held
                  count (eql (aref (gethash key table) 0) (watched-number key)))
            (< found (floor count 2)))))

(defclass shape () ((size :initarg :size :reader size-of)))
(defclass square (shape) ())
(defclass circle (shape) ())
(defgeneric area (shape))
(defmethod area ((shape square)) (* (size-of shape) (size-of shape)))
(defmethod area ((shape circle)) (* 22/7 (size-of shape) (size-of shape)))

(defun shapes (count)
  (format t "areas ~a~%"
          (loop for i below count
                sum (area (make-instance (if (evenp i) 'square 'circle) :size i)))))

(defun numbers (count)
  (let ((product 1))
    (loop for i from 1 to count do (setf product (* product i)))
    (format t "digits ~a~%" (length (format nil "~d" product)))
    (format t "sum ~a~%" (loop for i from 1 to count sum (/ 1 (1+ (mod i 30)))))))

(defun arrays (count)
  (let ((kept (make-array 100 :initial-element nil)) (sum 0))
    (dotimes (i count)
      (setf (aref kept (mod i 100))
            (make-array 2000 :element-type '(unsigned-byte 8) :initial-element (mod i 251)))
      (setf sum (mod (+ (* sum 3) (aref (or (aref kept (mod (* i 7) 100)) #(0)) 0)) 99991)))
    (format t "arrays ~a~%" sum)))

(defun work (size)
  (grow-in-threads size)
  (finalizers (* 2 size))
  (tables (* 20 size))
  (weak-tables (* 5 size))
  (shapes (* 10 size))
  (numbers (* 2 size))
  (arrays (* 10 size)))
