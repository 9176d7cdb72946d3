;;; ecl --norc --load ecl-run.lisp -- SOURCE DIRECTORY SIZE
(let* ((arguments (rest (member "--" (ext:command-args) :test 'string=)))
       (compiled (compile-file (first arguments)
                               :output-file (concatenate 'string (second arguments) "/work.fas")
                               :verbose nil :print nil)))
  (load compiled)
  (funcall (intern "WORK" :cl-user) (parse-integer (third arguments)))
  (finish-output)
  (ext:quit 0))
